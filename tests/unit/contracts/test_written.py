"""What the worker writes without building models is what the models and schemas describe."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.support.received import received
from tests.unit.contracts.support import ID, WALLET, faults, schema_validator
from worker.contracts.events import EVENT_MODELS, EventType
from worker.contracts.replies import ErrorCode, Reply
from worker.contracts.schemas.examples import EXAMPLES, Valid
from worker.contracts.schemas.messages import COMMAND_MESSAGES
from worker.contracts.status import WalletStatus
from worker.domain.rejections import Rejected
from worker.domain.wallet import Book, Wallet
from worker.ledger.decide_batch import decide_batch
from worker.ledger.reply import Said, accepted_reply, rejected_reply

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OTHER_WALLET = "9b2d0c1e-6f3a-4f0d-8a55-1c6f5c1f7e20"
HOLD = "0d4f3a1c-77b2-4b5e-9c52-6a1d2e3f4a5b"
NEW_WALLET = "7a7d2c7e-5e0b-4d7c-8f5e-1b2c3d4e5f60"

OF_HOLD = {"walletId": WALLET, "holdId": HOLD}
AROUND = {"reference": "invoice-12", "metadata": {"order": 4711}}
# A story in which every type of event happens, each with everything that it may carry.
STORY = [
    {"type": "CreateWallet", "walletId": WALLET, "ownerId": "o", "initialBalance": "100000000000000", **AROUND},
    {"type": "CreateWallet", "walletId": OTHER_WALLET, "ownerId": "o"},
    {"type": "Transfer", "fromWalletId": WALLET, "toWalletId": OTHER_WALLET, "amount": "0.0001", **AROUND},
    {"type": "PlaceHold", **OF_HOLD, "amount": "10", "expiresAt": "2026-11-22T12:00:01Z", **AROUND},
    {"type": "CaptureHold", **OF_HOLD, "amount": "4", "toWalletId": OTHER_WALLET, **AROUND},
    {"type": "PlaceHold", **OF_HOLD, "holdId": ID, "amount": "10", "holdType": "ESCROW"},
    {"type": "ReleaseHold", **OF_HOLD, "holdId": ID},
    {"type": "PlaceHold", **OF_HOLD, "holdId": WALLET, "amount": "10", "expiresAt": "2026-11-22T12:00:00Z"},
    {"type": "ExpireHold", **OF_HOLD, "holdId": WALLET, **AROUND},
    {"type": "SuspendWallet", "walletId": WALLET, "reason": "r", **AROUND},
    {"type": "ReactivateWallet", "walletId": WALLET, "reason": "r"},
    {"type": "UpdateMetadata", "walletId": WALLET, "metadata": {"a": None, "b": [1.5]}},
    {"type": "CreateWallet", "walletId": NEW_WALLET, "ownerId": "o"},
    {"type": "CloseWallet", "walletId": NEW_WALLET},
    {
        "type": "Atomic",
        "commands": [
            {"type": "CreditWallet", "walletId": WALLET, "amount": "1"},
            {"type": "UpdateMetadata", "walletId": WALLET, "metadata": {}},
        ],
        **AROUND,
    },
    {"type": "DebitWallet", "walletId": NEW_WALLET, "amount": "1"},
    {"type": "ReleaseHold", **OF_HOLD},
    {
        "type": "Atomic",
        "commands": [
            {"type": "SuspendWallet", "walletId": WALLET},
            {"type": "CaptureHold", **OF_HOLD},
            {"type": "ReleaseHold", **OF_HOLD},
        ],
    },
]
OUTCOMES = decide_batch(
    [received({"commandId": f"00000000-0000-4000-9000-{place:012}", **one}) for place, one in enumerate(STORY)],
    Book({}, {}),
    {},
    NOON,
).outcomes
EVENTS = [event for outcome in OUTCOMES for event in outcome.events]


def _wallet() -> Wallet:
    money = Decimal("899999999999999.9999")
    return Wallet(
        WALLET, "customer-17", "USD", WalletStatus.SUSPENDED, money, money, 7, "{}", NOON, NOON + timedelta(1)
    )


def test_the_story_has_every_type_of_event_and_every_kind_of_reply():
    """Or the tests below would say little."""
    assert {event.type for event in EVENTS} == set(EventType)
    assert [outcome.error_code for outcome in OUTCOMES if outcome.error_code] == [
        "WalletNotActive",
        "HoldNotActive",
        "WalletNotActive",
    ]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.type}-{event.version}")
def test_a_written_event_fits_its_schema_and_its_model(event):
    """A reader who goes by the schema reads every event that the worker writes."""
    assert list(schema_validator(f"events/{event.type}.json").iter_errors(json.loads(event.data))) == []
    assert faults(EVENT_MODELS[EventType(event.type)], event.data) == []


@pytest.mark.parametrize(
    "raw",
    [
        *(outcome.reply for outcome in OUTCOMES),
        accepted_reply(ID, "CreditWallet", "2026-11-22T12:00:00.000000Z", Said([_wallet()])),
        rejected_reply(
            None, None, "1970-01-01T00:00:00.000000Z", Rejected(ErrorCode.INVALID_COMMAND, "Not JSON.", {"path": ""})
        ),
    ],
    ids=[*(one["type"] for one in STORY), "largest", "unreadable"],
)
def test_a_written_reply_fits_its_schema_and_its_model(raw):
    """A sender who goes by the schema reads every reply that the worker writes."""
    errors = list(schema_validator("replies/Reply.json").iter_errors(json.loads(raw)))

    assert errors == []
    assert faults(Reply, raw) == []


def test_every_command_of_the_examples_is_answered_by_a_reply_that_fits():
    """Whatever becomes of it."""
    examples = [
        example.value
        for message in COMMAND_MESSAGES
        for example in EXAMPLES[message.name]
        if isinstance(example, Valid)
    ]

    outcomes = decide_batch([received(dict(command)) for command in examples], Book({}, {}), {}, NOON).outcomes

    assert [fault for outcome in outcomes for fault in faults(Reply, outcome.reply)] == []

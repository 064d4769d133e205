"""What the worker writes without building models is what the models and schemas describe."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.unit.contracts.support import ID, WALLET, faults, schema_validator
from worker.contracts.events import EVENT_MODELS, EventType
from worker.contracts.replies import ErrorCode, Reply
from worker.contracts.status import WalletStatus
from worker.domain.rejections import Rejected
from worker.domain.wallet import Wallet
from worker.ledger.entry import Constants, Entry, event_data
from worker.ledger.reply import accepted_reply, rejected_reply

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OTHER_WALLET = "9b2d0c1e-6f3a-4f0d-8a55-1c6f5c1f7e20"


def _wallet() -> Wallet:
    money = Decimal("899999999999999.9999")
    return Wallet(WALLET, "customer-17", "USD", WalletStatus.SUSPENDED, money, money, 7, "{}", NOON, NOON)


def _entry(event_type: EventType) -> Entry:
    created = event_type is EventType.WALLET_CREATED
    return Entry(
        wallet_id=WALLET,
        version=0 if created else 7,
        event_id=ID,
        event_type=event_type,
        command_id=ID,
        amount=Decimal("0.0001"),
        balance=Decimal("899999999999999.9999"),
        held_balance=Decimal("0.0000"),
        status="ACTIVE",
        wallet_metadata='{"plan":"business"}' if created else None,
        counterparty_wallet_id=None if created else OTHER_WALLET,
        transfer_id=None if created else ID,
        group_id=None,
        hold=None,
        reason=None,
        reference="invoice-12",
        metadata=None if created else '{"order":4711}',
        correlation_id="c-1",
        traceparent=None,
        occurred_at=NOON + timedelta(microseconds=1),
    )


@pytest.mark.parametrize("event_type", list(EventType))
def test_a_written_event_fits_its_schema_and_its_model(event_type):
    """A reader who goes by the schema reads every event that the worker writes."""
    wallet = Constants("customer-17", "USD", NOON, '{"plan":"business"}')

    raw = event_data(_entry(event_type), wallet)

    assert list(schema_validator(f"events/{event_type}.json").iter_errors(json.loads(raw))) == []
    assert faults(EVENT_MODELS[event_type], raw) == []


@pytest.mark.parametrize(
    "raw",
    [
        accepted_reply(ID, "CreditWallet", "2026-11-22T12:00:00.000000Z", [_wallet()]),
        rejected_reply(
            ID,
            "CreditWallet",
            "2026-11-22T12:00:00.000000Z",
            Rejected(ErrorCode.WALLET_NOT_FOUND, "There is no such wallet.", {"walletId": WALLET}),
        ),
        rejected_reply(
            None, None, "1970-01-01T00:00:00.000000Z", Rejected(ErrorCode.INVALID_COMMAND, "Not JSON.", {"path": ""})
        ),
    ],
    ids=["accepted", "rejected", "unreadable"],
)
def test_a_written_reply_fits_its_schema_and_its_model(raw):
    """A sender who goes by the schema reads every reply that the worker writes."""
    errors = list(schema_validator("replies/Reply.json").iter_errors(json.loads(raw)))

    assert errors == []
    assert faults(Reply, raw) == []

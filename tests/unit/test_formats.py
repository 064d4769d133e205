"""What was written once keeps its bytes: fingerprints, events and replies, as the release before formats wrote them.

`tests/golden/format-1.json` is a story of all commands, told to that release: the fingerprint of each, its reply and
its events. Fingerprints and events of a format never change, so neither does that file; a later format gets a file of
its own. Replies are stored as they are, so a later release may write others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, TypeAdapter
from pydantic_core import PydanticUndefined

from tests.support.commands import atomic, credit
from tests.support.memory_ledger import MemoryLedger
from tests.support.received import received
from worker.cli.reply_topic import read_reply
from worker.contracts.commands import COMMAND, COMMAND_TYPES, Atomic, CreditWallet, CreditWalletPart, Part
from worker.contracts.events import EventType
from worker.domain.fingerprint import ALWAYS_COUNTED, FINGERPRINT_FORMAT, fingerprint
from worker.domain.wallet import NO_METADATA
from worker.inbox import decode
from worker.ledger import recall
from worker.ledger.asked import accepted
from worker.ledger.decide_batch import Outcome, Received
from worker.ledger.entry import Constants, Entry, new_event
from worker.ledger.recall import Ran

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "format-1.json").read_text())
WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"


def asked(step: dict[str, Any]) -> Received:
    return received(step["command"], [(name, text.encode()) for name, text in step["headers"].items()])


def told() -> Iterator[tuple[dict[str, Any], Outcome, MemoryLedger]]:
    """The story again: each step, what became of it, and the ledger after it."""
    ledger = MemoryLedger()
    for step in GOLDEN:
        (outcome,) = ledger.run([asked(step)], datetime.fromisoformat(step["at"]))
        yield step, outcome, ledger


def described(event: Any) -> dict[str, Any]:
    """An event as the file has it."""
    return {
        "walletId": event.wallet_id,
        "version": event.version,
        "id": event.event_id,
        "type": event.type,
        "data": event.data.decode(),
        "properties": event.properties,
    }


def in_format_1(entries: tuple[Entry, ...], ledger: MemoryLedger) -> Iterator[dict[str, Any]]:
    """The events of `entries` as they are made again from the ledger, had they been written in format 1."""
    for entry in entries:
        wallet = ledger.wallets[entry.wallet_id]
        changes = [
            one.wallet_metadata
            for one in ledger.entries
            if one.wallet_id == entry.wallet_id and one.version <= entry.version and one.wallet_metadata is not None
        ]
        metadata = changes[-1] if changes else NO_METADATA
        constants = Constants(wallet.owner_id, wallet.currency, wallet.created_at, metadata)
        yield described(new_event(entry._replace(format=1), constants))


def test_a_fingerprint_of_format_1_is_what_it_was():
    """A repeat of whatever ran before the upgrade is known for one."""
    now = {step["command"]["commandId"]: fingerprint(asked(step).command, 1).hex() for step in GOLDEN}

    assert now == {step["command"]["commandId"]: step["fingerprint"] for step in GOLDEN}


def test_an_event_of_format_1_is_made_again_as_it_was():
    """What stands in KurrentDB is no contradiction, and what is missing there is appended as it would have been."""
    for step, outcome, ledger in told():
        assert list(in_format_1(outcome.entries, ledger)) == step["events"]


def test_what_is_written_now_is_what_was_written():
    """As long as the formats are these, and replies have no other fields. A release that changes that changes this."""
    for step, outcome, _ in told():
        assert outcome.reply.decode() == step["reply"]
        assert [described(event) for event in outcome.events] == step["events"]


def test_the_story_has_everything():
    """Each type of command, with the least and with all that it may say, as a command and as a part; each event."""
    commands = [step["command"] for step in GOLDEN]
    parts = [part for command in commands for part in command.get("commands", ())]
    said = {model.__name__: [set(one) for one in commands if one["type"] == model.__name__] for model in COMMAND_TYPES}

    for model in COMMAND_TYPES:
        required = {field.alias for field in model.model_fields.values() if field.is_required()}
        meant = {model.model_fields[name].alias for name in ALWAYS_COUNTED[1][model.__name__]}
        assert required in said[model.__name__]
        assert any(fields >= meant for fields in said[model.__name__]), model
    assert {part["type"] for part in parts} == {model.__name__ for model in COMMAND_TYPES} - {"Atomic"}
    assert {event["type"] for step in GOLDEN for event in step["events"]} == set(EventType)


@pytest.mark.parametrize("model", COMMAND_TYPES, ids=lambda model: model.__name__)
def test_a_field_that_was_added_later_is_optional(model):
    """What does not count always has a default: whoever does not know the field leaves it out."""
    later = model.model_fields.keys() - {"command_id", "not_after"} - set(ALWAYS_COUNTED[1].get(model.__name__, ()))

    for name in later:
        field = model.model_fields[name]
        assert name == "type" or field.get_default(call_default_factory=True) is not PydanticUndefined


class CreditWalletPartOfTomorrow(CreditWalletPart):
    """As a later release may have it."""

    paid_by: str | None = None
    tags: list[str] = Field(default_factory=list)


class CreditWalletOfTomorrow(CreditWallet, CreditWalletPartOfTomorrow):
    """As a later release may have it."""


class AtomicOfTomorrow(Atomic):
    """As a later release may have it."""

    commands: list[Part | CreditWalletPartOfTomorrow]


TOMORROW: TypeAdapter[Any] = TypeAdapter(CreditWalletOfTomorrow | AtomicOfTomorrow)

REPEATED = {
    "command": credit(WALLET, "5", reference="r"),
    "group": atomic(credit(WALLET, "5"), credit(WALLET, "7", reference="r")),
}


def of_tomorrow(command: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`command` with other fields, in the first part where it is a group."""
    if "commands" not in command:
        return command | fields
    first, *others = command["commands"]
    return command | {"commands": [first | fields, *others]}


@pytest.mark.parametrize("command", REPEATED.values(), ids=REPEATED.keys())
def test_an_optional_field_more_makes_no_conflict_of_a_repeat(monkeypatch, command):
    """Left out, null or at its default, the command is the one from before the upgrade; at another value it is not."""
    before = received(command).fingerprint
    monkeypatch.setattr(decode, "COMMAND", TOMORROW)

    same = [received(of_tomorrow(command, **fields)).fingerprint for fields in ({}, {"paidBy": None}, {"tags": []})]
    others = [
        received(of_tomorrow(command, **fields)).fingerprint
        for fields in ({"paidBy": "x"}, {"paidBy": ""}, {"tags": ["x"]})
    ]

    assert same == [before] * len(same)
    assert len({before, *others}) == 1 + len(others)


def test_a_repeat_is_compared_in_the_format_that_was_stored(monkeypatch):
    """A release that computes fingerprints in another way still knows a repeat from before it, and a conflict."""
    monkeypatch.setitem(ALWAYS_COUNTED, FINGERPRINT_FORMAT + 1, {})
    monkeypatch.setattr(recall, "FINGERPRINT_FORMAT", FINGERPRINT_FORMAT + 1)
    command, other = (COMMAND.validate_python(credit(WALLET, amount)) for amount in ("5", "6"))
    now = {one: fingerprint(one, FINGERPRINT_FORMAT + 1) for one in (command, other)}

    for format_number in (FINGERPRINT_FORMAT, FINGERPRINT_FORMAT + 1):
        ran = Ran(1, fingerprint(command, format_number), format_number, None, b"", ())
        assert ran.is_repeated_by(command, now[command])
        assert not ran.is_repeated_by(other, now[other])
    assert now[command] != fingerprint(command, FINGERPRINT_FORMAT)


READERS_OF_REPLIES = {
    "a direct call": lambda reply: accepted(WALLET, Outcome(None, reply)),
    "wallex replies": read_reply,
}


@pytest.mark.parametrize("read", READERS_OF_REPLIES.values(), ids=READERS_OF_REPLIES.keys())
def test_a_reply_of_a_later_release_is_read_without_what_it_has_more(read):
    """A stored reply may be of a worker that was upgraded before the service beside the database was."""
    group = next(step["reply"] for step in GOLDEN if step["command"].get("reference") == "group")
    said = json.loads(group)
    said["wallets"][0]["later"] = said["parts"][3]["hold"]["later"] = said["later"] = 1

    assert read(json.dumps(said).encode()) == read(group.encode())

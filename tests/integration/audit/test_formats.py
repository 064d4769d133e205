"""A later release adds a field to a command and to every event: what was written before stays what it was.

The release is imaginary: its command has an optional field more, and its rows are in a format whose events say what is
available as well. Everything else is the code as it is, on real servers.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from pydantic import TypeAdapter

from tests.support.commands import create_wallet, credit, debit, new_id, place_hold, transfer
from tests.support.received import received
from worker.audit.verify import verify
from worker.contracts.commands import Command, CreditWallet
from worker.contracts.money import format_money
from worker.inbox import decode
from worker.ledger import entry, happen
from worker.ledger.batch import run_batch
from worker.ledger.entry import Constants, Entry
from worker.ledger.formats import LEDGER_FORMAT, NewerFormat
from worker.outbox.backfill import load_runs
from worker.outbox.run import runs_of

NEXT_FORMAT = LEDGER_FORMAT + 1

event_data = entry.event_data


class CreditOfTomorrow(CreditWallet):
    """As a later release may have it."""

    paid_by: str | None = None


def event_data_of_tomorrow(row: Entry, wallet: Constants) -> bytes:
    """Of a row in the next format with a field more, of any other as it always was."""
    data = event_data(row, wallet)
    if row.format < NEXT_FORMAT:
        return data
    return orjson.dumps({**orjson.loads(data), "availableBalance": format_money(row.balance - row.held_balance)})


@pytest.fixture
def upgrade(monkeypatch) -> Callable[[], None]:
    """Make the next release of this process."""

    def upgrade() -> None:
        # The first that fits is taken, and a credit as it is today fits the first.
        monkeypatch.setattr(decode, "COMMAND", TypeAdapter(CreditOfTomorrow | Command))
        monkeypatch.setattr(entry, "event_data", event_data_of_tomorrow)
        monkeypatch.setattr(entry, "LEDGER_FORMATS_KNOWN", {LEDGER_FORMAT, NEXT_FORMAT})
        monkeypatch.setattr(happen, "LEDGER_FORMAT", NEXT_FORMAT)

    return upgrade


async def test_a_field_more_makes_no_conflict_of_old_commands_and_no_contradiction_of_old_events(fresh, upgrade):
    """Old commands are repeats, old events are made again to the byte, new ones have the field: all stores agree."""
    a, b = new_id(), new_id()
    before = [
        create_wallet(a, metadata={"a": 1}),
        create_wallet(b, "0"),
        credit(a, "5", reference="r"),
        transfer(a, b, "30"),
        place_hold(a, new_id(), "10"),
        debit(b, "1000"),
    ]
    first = await run_batch(fresh.stores.engine, [received(command) for command in before])
    old = [event for outcome in first for event in outcome.events]
    await fresh.append(old)
    await fresh.project(old)

    upgrade()
    new = await fresh.run(credit(a, "1"), credit(a, "1", paidBy="x"), transfer(b, a, "7"), debit(a, "2"))
    again = await run_batch(fresh.stores.engine, [received(command) for command in before])
    others = [
        credit(a, "5", reference="r", paidBy=paid_by, commandId=before[2]["commandId"]) for paid_by in ("x", None)
    ]
    told = await run_batch(fresh.stores.engine, [received(command) for command in others])
    report = await verify(fresh.stores)

    assert [(outcome.replayed, outcome.reply) for outcome in again] == [(True, outcome.reply) for outcome in first]
    assert [outcome.error_code for outcome in told] == ["IdempotencyConflict", None]
    assert told[1].reply == first[2].reply
    assert report.is_clean, report.differences
    assert report.events == len(old) + len(new)
    assert {"availableBalance" in orjson.loads(event.data) for event in old} == {False}
    assert {"availableBalance" in orjson.loads(event.data) for event in new} == {True}
    made_again = await load_runs(fresh.stores.engine, {a: (0, 100), b: (0, 100)})
    assert {id_: run.events for id_, run in made_again.items()} == {
        run.wallet_id: run.events for run in runs_of([*old, *new])
    }


async def test_rows_of_a_later_release_are_told_from_ours_and_left_alone(fresh):
    """After a downgrade, say: no event is made of what is not known, and no command taken for another one."""
    a = new_id()
    command = create_wallet(a)
    await fresh.run(command)
    await fresh.execute("UPDATE ledger SET format = 2")
    await fresh.execute("UPDATE commands SET fingerprint_format = 3")
    stands = await fresh.everything()

    with pytest.raises(NewerFormat, match=rf"version 0 of wallet {a} in format 2.*run that release or a later one"):
        await load_runs(fresh.stores.engine, {a: (0, 0)})
    with pytest.raises(NewerFormat, match=f"version 0 of wallet {a} in format 2"):
        await verify(fresh.stores)
    with pytest.raises(NewerFormat, match=f"the command {command['commandId']} in format 3"):
        await run_batch(fresh.stores.engine, [received(command)])

    assert await fresh.everything() == stands

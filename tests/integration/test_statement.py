"""Statements from a real Elasticsearch: the right lines, in order, of any number, in each of their three forms."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from unittest import mock
from uuid import uuid4

import pytest

from tests.support.command_line import wallex
from tests.support.commands import (
    capture_hold,
    create_wallet,
    credit,
    debit,
    new_id,
    place_hold,
    release_hold,
    suspend_wallet,
    transfer,
)
from tests.support.ledger import engine_of
from tests.support.postgres import migrated_database
from tests.support.projection import as_recorded, under_other_aliases
from tests.support.received import received
from worker.audit import statement
from worker.audit.statement import Line, Period, Statements
from worker.contracts.times import format_time
from worker.errors import Contradiction, Unavailable
from worker.ledger.batch import run_batch
from worker.ledger.entry import NewEvent
from worker.projection.bulk import make_operations, write_documents
from worker.projection.document import read_event
from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import STATEMENT, WALLETS, open_index

TICK = timedelta(microseconds=1)


class Bank:
    """Postgres and Elasticsearch without what lies between: commands run, their events projected."""

    def __init__(self, engine, client, indices) -> None:
        self._engine, self._client, self._indices = engine, client, indices
        self.statements = Statements(client, *(index.projection for index in indices))

    async def run(self, *commands) -> list[NewEvent]:
        """Run `commands` in one batch; its events can be searched for afterwards."""
        outcomes = await run_batch(self._engine, [received(command) for command in commands])
        events = [event for outcome in outcomes for event in outcome.events]
        projected = [read_event(event) for event in as_recorded(events)]
        await write_documents(self._client, make_operations(self._indices, projected))
        await self._client.indices.refresh(index=[index.name for index in self._indices])
        return events

    async def lines(self, wallet_id: str, start: datetime | None = None, end: datetime | None = None) -> list[Line]:
        return [line async for line in self.statements.lines(wallet_id, Period(start, end))]

    async def wallex(self, environment, *arguments: str):
        """Run a command that reads these aliases."""
        projections = self.statements.wallets, self.statements.ledger
        with mock.patch.object(statement, "Statements", lambda client: Statements(client, *projections)):
            return await asyncio.to_thread(wallex, environment, "statement", *arguments)


@pytest.fixture(scope="module")
def environment(stack) -> dict[str, str]:
    """Of a command: it needs no database of its own."""
    return stack.environment()


@pytest.fixture(scope="module")
async def bank(environment) -> AsyncIterator[Bank]:
    """One for all: each test has wallets of its own."""
    prefix = f"test-{uuid4().hex[:12]}"
    own = {one.alias: one for one in under_other_aliases(prefix)}
    async with (
        migrated_database(environment) as database,
        engine_of(database) as engine,
        connect_elasticsearch(environment["ELASTICSEARCH_URL"]) as client,
    ):
        indices = [await open_index(client, own[f"{prefix}-{one.alias}"]) for one in (WALLETS, STATEMENT)]
        yield Bank(engine, client, indices)
        await client.indices.delete(index=[index.name for index in indices])


async def a_story(bank: Bank) -> tuple[str, str, str]:
    """Two wallets and a hold: money in, out, across, reserved, captured, given free."""
    a, b, hold, other = new_id(), new_id(), new_id(), new_id()
    await bank.run(create_wallet(a, "100"), create_wallet(b, "0"))
    await bank.run(credit(a, "5.5", reference="wages"), debit(a, "0.5"), transfer(a, b, "20"))
    await bank.run(place_hold(a, hold, "10", reference="=1+1"), suspend_wallet(b), place_hold(a, other, "1"))
    await bank.run(capture_hold(a, hold, amount="4", toWalletId=b), release_hold(a, other))
    return a, b, hold


async def test_each_line_says_what_it_moved_or_reserved(bank):
    """Signed; the amounts add up to the balance; what moved nothing is no line."""
    a, b, hold = await a_story(bank)

    lines = await bank.lines(a)

    assert [(line.version, line.event_type, line.amount, line.reserved) for line in lines] == [
        (0, "WalletCreated", Decimal(100), None),
        (1, "WalletCredited", Decimal("5.5"), None),
        (2, "WalletDebited", Decimal("-0.5"), None),
        (3, "WalletDebited", Decimal(-20), None),
        (4, "HoldPlaced", None, Decimal(10)),
        (5, "HoldPlaced", None, Decimal(1)),
        (6, "HoldCaptured", Decimal(-4), None),
        (7, "HoldReleased", None, Decimal(-1)),
    ]
    assert sum(line.amount or 0 for line in lines) == lines[-1].balance == Decimal(81)
    assert [line.held for line in lines][-4:] == [10, 11, 1, 0]
    assert all(line.available == line.balance - line.held for line in lines)
    assert (lines[3].counterparty_wallet_id, lines[6].hold_id, lines[1].reference) == (b, hold, "wages")
    into_b = [("WalletCredited", 20), ("WalletCredited", 4)]
    assert [(line.event_type, line.amount) for line in await bank.lines(b)] == into_b


async def test_a_period_begins_with_its_first_and_ends_before_its_last_instant(bank):
    """Half-open, to the microsecond, so that no line is in two months or in none."""
    a, _, _ = await a_story(bank)
    everything = await bank.lines(a)
    times = sorted({datetime.fromisoformat(line.occurred_at) for line in everything})

    parts = [await bank.lines(a, start, end) for start, end in zip(times, [*times[1:], None], strict=True)]
    before, none = await bank.lines(a, None, times[0]), await bank.lines(a, times[0] + TICK, times[1])

    assert [line for part in parts for line in part] == everything
    assert [len(part) for part in parts] == [1, 3, 2, 2]
    assert before == none == []
    assert await bank.statements.balance_before(a, times[2]) == Decimal(85)
    assert await bank.statements.balance_before(a, times[0]) == await bank.statements.balance_before(a, None) == 0


async def test_a_period_may_reach_beyond_all_times(bank):
    """Also beyond those that Elasticsearch can count in nanoseconds."""
    a, _, _ = await a_story(bank)
    first, last = datetime.fromisoformat("0001-01-01T00:00Z"), datetime.fromisoformat("9999-12-31T23:59Z")

    assert await bank.lines(a, first, last) == await bank.lines(a)
    assert await bank.statements.balance_before(a, first) == 0


async def test_a_statement_of_several_pages_is_whole_and_in_order(bank, monkeypatch):
    """No line is lost or doubled where a page ends, also where the last page is full."""
    a, lines = new_id(), 24
    await bank.run(create_wallet(a, "1"), *(credit(a) for _ in range(lines - 1)))

    for size in (5, 8, lines, lines + 1):
        monkeypatch.setattr(statement, "PAGE_LINES", size)
        assert [line.version for line in await bank.lines(a)] == list(range(lines))


async def test_the_table_has_the_balances_around_it(bank, environment):
    """Opening and closing; an empty period is no error."""
    a, _, _ = await a_story(bank)
    third = format_time(datetime.fromisoformat((await bank.lines(a))[4].occurred_at))

    whole = await bank.wallex(environment, a)
    rest = await bank.wallex(environment, a, "--from", third)
    empty = await bank.wallex(environment, a, "--from", "2999-01-01")

    heading, *rows, footer = rest.stdout.splitlines()
    assert [done.returncode for done in (whole, rest, empty)] == [0, 0, 0], whole.stderr
    assert heading.startswith("time (UTC)")
    assert ["10.0000 reserved" in row for row in rows] == [True, False, False, False]
    assert "-4.0000" in rows[2]
    assert "1.0000 released" in rows[3]
    assert footer == "4 entries, opening balance 85.0000, closing balance 81.0000"
    assert whole.stdout.splitlines()[-1] == "8 entries, opening balance 0.0000, closing balance 81.0000"
    assert empty.stdout.splitlines()[1:] == ["0 entries, opening balance 81.0000, closing balance 81.0000"]


async def test_json_is_one_object_a_line_and_csv_has_a_heading(bank, environment):
    """The same fields under the same names; money is text with four places; no cell is a formula."""
    a, b, hold = await a_story(bank)

    scripted = await bank.wallex(environment, a, "--json")
    sheet = await bank.wallex(environment, a, "--csv")

    rows = list(csv.DictReader(io.StringIO(sheet.stdout)))
    assert [{name: "" if value is None else str(value) for name, value in one.items()} for one in scripted.objects] == [
        row | {"reference": row["reference"].removeprefix("'")} for row in rows
    ]
    assert (rows[3]["amount"], rows[3]["counterpartyWalletId"]) == ("-20.0000", b)
    assert (rows[4]["amount"], rows[4]["reserved"], rows[4]["holdId"]) == ("", "10.0000", hold)
    assert rows[4]["reference"] == "'=1+1"
    assert scripted.objects[4]["reference"] == "=1+1"
    assert sum(Decimal(row["amount"] or 0) for row in rows) == Decimal(rows[-1]["balance"])


async def test_a_reference_cannot_act_on_the_terminal(bank, environment):
    """It is shown with escapes."""
    a = new_id()
    await bank.run(create_wallet(a, "1", reference="\x1b[2J\n"))

    done = await bank.wallex(environment, a)

    assert done.stdout.splitlines()[1].endswith(r"\x1b[2J\n")


async def test_a_wallet_without_a_line_is_not_unknown(bank, environment):
    """It has a statement with nothing in it; a wallet that never was has none."""
    a = new_id()
    await bank.run(create_wallet(a, "0"))

    empty, unknown = await bank.wallex(environment, a), await bank.wallex(environment, new_id())

    assert (empty.returncode, empty.stdout.count("\n")) == (0, 2)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("wallex: Elasticsearch has no wallet ")


async def test_an_elasticsearch_without_the_aliases_is_said_so(bank, environment):
    """Nobody has followed anything into it yet, or it is away."""
    missing = [Statements(bank.statements.client, *pair) for pair in _with_one_missing(bank.statements)]

    with pytest.raises(Unavailable, match=r"there is no alias nowhere-wallets: `wallex projector` makes it"):
        await missing[0].knows(new_id())
    with pytest.raises(Unavailable, match=r"there is no alias nowhere-wallet-ledger: `wallex projector` makes it"):
        [line async for line in missing[1].lines(new_id(), Period())]
    away = await bank.wallex(environment | {"ELASTICSEARCH_URL": "http://127.0.0.1:1"}, new_id())
    assert (away.returncode, away.stdout) == (1, "")
    assert away.stderr.startswith("wallex: Elasticsearch: ")


def _with_one_missing(there: Statements):
    nowhere = {one.alias: one for one in under_other_aliases("nowhere")}
    yield nowhere["nowhere-wallets"], there.ledger
    yield there.wallets, nowhere["nowhere-wallet-ledger"]


async def test_a_line_that_is_none_of_ours_ends_the_statement(bank):
    """It would otherwise be left out, and the sums be wrong."""
    a = new_id()
    (event,) = await bank.run(create_wallet(a, "1"))
    where = {"index": bank.statements.ledger.alias, "id": event.event_id}
    await bank.statements.client.update(**where, doc={"eventType": "Foreign"}, refresh=True)

    with pytest.raises(Contradiction, match=f"the line {event.event_id} is not one of ours"):
        await bank.lines(a)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "--csv"], "--json and --csv both say how"),
        (["--from", "2026-11-22", "--to", "2026-11-22"], "--from is not before --to"),
        (["--to", "2026-11-22T00:00"], "has no offset"),
    ],
)
async def test_a_wrong_question_is_one_line(environment, arguments, said):
    """Exit code 64."""
    done = await asyncio.to_thread(wallex, environment, "statement", new_id(), *arguments)

    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr

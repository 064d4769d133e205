"""A wallet as it was, on a real Postgres: at every version, at any time, however long its ledger is."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.command_line import wallex
from tests.support.commands import (
    capture_hold,
    close_wallet,
    create_wallet,
    credit,
    debit,
    new_id,
    place_hold,
    release_hold,
    suspend_wallet,
    update_metadata,
)
from tests.support.ledger import run
from worker.audit.history import NotThere, Past, read_past
from worker.database import raw_connection
from worker.errors import Contradiction

ROWS_MAX = 25
"""For one look at a long ledger: halving takes 17 steps for 100,000 entries, then come the entry and the metadata."""
LONG = 100_000

READ_WALLET = """
SELECT version, status, balance::text, held_balance::text, metadata, updated_at FROM wallets WHERE id = $1::uuid
"""
READ_ACTIVE = "SELECT id::text FROM holds WHERE wallet_id = $1::uuid AND status = 'ACTIVE'"

# A second apart, as the worker would have left them.
ADD_ENTRIES = """
INSERT INTO ledger (wallet_id, version, event_id, event_type, command_id, amount, balance, held_balance, status,
                    occurred_at)
SELECT $1::uuid, version, gen_random_uuid(), 'WalletCredited', gen_random_uuid(), 1, 100 + version, 0, 'ACTIVE',
       $3::timestamptz + version * interval '1 second'
FROM generate_series(1, $2::bigint) AS version
"""
MOVE_WALLET = (
    "UPDATE wallets SET version = $2::bigint, balance = 100 + $2::bigint, updated_at = now() WHERE id = $1::uuid"
)


async def now_is(engine, wallet_id: str) -> tuple:
    """The wallet and its active holds as the present tables have them."""
    async with raw_connection(engine) as connection:
        row = await connection.fetchrow(READ_WALLET, wallet_id)
        return (*row, {row[0] for row in await connection.fetch(READ_ACTIVE, wallet_id)})


def then_was(past: Past | NotThere) -> tuple:
    """The same of the past."""
    assert isinstance(past, Past), past
    wallet = past.wallet
    money = str(wallet.balance), str(wallet.held_balance)
    holds = {hold.id for hold in past.holds}
    return wallet.version, wallet.status, *money, wallet.metadata, wallet.updated_at, holds


async def a_life(engine) -> tuple[str, list[tuple]]:
    """A wallet with something of everything, one batch after another, and what it was after each."""
    a, one, two, three = new_id(), new_id(), new_id(), new_id()
    batches = [
        [create_wallet(a, "100", metadata={"tier": "gold"})],
        [credit(a, "5"), place_hold(a, one, "10", reference="r-1"), place_hold(a, two, "20")],
        [update_metadata(a, {"tier": None, "z": 1}), debit(a, "3")],
        [capture_hold(a, one, amount="4")],
        [place_hold(a, three, "1"), release_hold(a, three)],
        [suspend_wallet(a)],
        [release_hold(a, two)],
    ]
    states = []
    for commands in batches:
        await run(engine, *commands)
        states.append(await now_is(engine, a))
    return a, states


async def test_each_version_is_shown_as_it_was(engine):
    """Balance, held balance, status, metadata and active holds, from the ledger alone."""
    a, states = await a_life(engine)

    found = [then_was(await read_past(engine, a, state[0])) for state in states]

    assert found == states


async def test_a_time_shows_what_its_last_entry_left(engine):
    """The entry of that very microsecond counts; a microsecond earlier it does not yet."""
    a, states = await a_life(engine)
    tick = timedelta(microseconds=1)

    exactly = [then_was(await read_past(engine, a, state[5])) for state in states]
    earlier = [then_was(await read_past(engine, a, state[5] - tick)) for state in states[1:]]
    today = then_was(await read_past(engine, a, datetime(2999, 1, 1, tzinfo=UTC)))

    assert exactly == states
    assert earlier == states[:-1]
    assert today == states[-1]


async def test_versions_of_one_instant_are_told_apart(engine):
    """A batch has one time, and a hold may be placed and end within it."""
    a, placed, ended, later = new_id(), new_id(), new_id(), new_id()
    await run(engine, create_wallet(a, "100"), place_hold(a, ended, "1"))
    await run(engine, place_hold(a, placed, "10"), release_hold(a, ended), release_hold(a, placed), credit(a))
    await run(engine, place_hold(a, later, "2"))

    shown = [await read_past(engine, a, version) for version in range(7)]

    assert [{hold.id for hold in past.holds} for past in shown] == [
        set(),
        {ended},
        {ended, placed},
        {placed},
        set(),
        set(),
        {later},
    ]
    assert all(sum(hold.amount for hold in past.holds) == past.wallet.held_balance for past in shown)
    assert {hold.status for past in shown for hold in past.holds} == {"ACTIVE"}


async def test_what_was_not_there_is_said_so(engine):
    """Before the wallet was opened, a version that is still to come, a wallet that never was."""
    a, nobody = new_id(), new_id()
    await run(engine, create_wallet(a))
    created_at = (await now_is(engine, a))[5]

    before = await read_past(engine, a, created_at - timedelta(microseconds=1))
    ahead = await read_past(engine, a, 1)
    unknown = await read_past(engine, nobody, created_at)

    assert isinstance(before, NotThere)
    assert before.reason.startswith(f"there was no wallet {a} yet: it was created at 20")
    assert ahead == NotThere(f"wallet {a} has no version 1 yet: it is at version 0")
    assert unknown == NotThere(f"Postgres has no wallet {nobody}")


async def test_a_hole_in_the_ledger_is_not_passed_over(environment, engine):
    """What is missing is said; nothing is made up from what stands beside it."""
    a = new_id()
    await run(engine, create_wallet(a), credit(a), credit(a))
    async with raw_connection(engine) as connection:
        await connection.execute("DELETE FROM ledger WHERE wallet_id = $1::uuid AND version = 1", a)

    with pytest.raises(Contradiction, match=f"the ledger of wallet {a} lacks version 1"):
        await read_past(engine, a, 1)


async def test_a_long_ledger_is_not_read_through(engine):
    """A few dozen reads by key, wherever in 100,000 entries the time is; none of them walks the ledger."""
    a, started = new_id(), datetime(2030, 1, 1, tzinfo=UTC)
    await run(engine, create_wallet(a, "100", metadata={"a": 1}))
    async with raw_connection(engine) as connection:
        await connection.execute(ADD_ENTRIES, a, LONG, started)
        await connection.execute(MOVE_WALLET, a, LONG)
        await connection.execute("ANALYZE ledger")
        await connection.execute("SELECT pg_stat_reset()")

    pasts = [await read_past(engine, a, started + timedelta(seconds=second + 0.5)) for second in (1, 50_000, LONG)]

    assert [past.wallet.version for past in pasts] == [1, 50_000, LONG]
    assert [past.wallet.metadata for past in pasts] == ['{"a":1}'] * 3
    assert await rows_read(engine) < len(pasts) * ROWS_MAX


async def rows_read(engine) -> int:
    """How many rows of the ledger were looked at, by index or not."""
    query = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'ledger'"
    async with raw_connection(engine) as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return await connection.fetchval(query)


async def test_the_command_line_shows_the_past(environment, engine):
    """As a table with the holds that were active, and as one object."""
    a, states = await a_life(engine)
    version, *_, at, _ = states[1]

    table = await asyncio.to_thread(wallex, environment, "wallet", a, "--at", at.isoformat())
    scripted = await asyncio.to_thread(wallex, environment, "wallet", a, "--version", str(version), "--json")

    (past,) = scripted.objects
    assert (table.returncode, scripted.returncode) == (0, 0), (table, scripted)
    assert "105.0000" in table.stdout
    assert "r-1" in table.stdout
    assert past["wallet"]["heldBalance"] == "30.0000"
    assert past["wallet"]["metadata"] == {"tier": "gold"}
    assert sorted(hold["amount"] for hold in past["holds"]) == ["10.0000", "20.0000"]
    assert past["entry"]["eventType"] == "HoldPlaced"


async def test_a_closed_wallet_is_shown_open_as_it_was(environment, engine):
    """What it is now does not matter."""
    a = new_id()
    await run(engine, create_wallet(a, "0"))
    await run(engine, close_wallet(a))

    done = await asyncio.to_thread(wallex, environment, "wallet", a, "--version", "0", "--json")

    assert json.loads(done.stdout)["wallet"]["status"] == "ACTIVE"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--at", "2020-01-01"], 1, "wallex: Postgres has no wallet"),
        (["--version", "0"], 1, "wallex: Postgres has no wallet"),
        (["--at", "2026-11-22T12:00:00"], 64, "has no offset, expected one: 2026-11-22T12:00:00Z for UTC"),
        (["--at", "yesterday"], 64, "expected a time such as 2026-11-22T12:00:00Z"),
        (["--at", "0001-01-01T00:00:00+14:00"], 64, "expected a time such as 2026-11-22T12:00:00Z"),
        (["--version", "-1"], 64, "--version"),
        (["--at", "2026-11-22", "--version", "1"], 64, "--at and --version both say when"),
    ],
)
async def test_what_cannot_be_shown_is_one_line(environment, arguments, code, said):
    """1: there is no such wallet or time of it; 64: the question is wrong."""
    done = await asyncio.to_thread(wallex, environment, "wallet", new_id(), *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1

"""Running a batch until each command is decided, on a real Postgres: foreign locks, a bad command, an outage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from structlog.typing import EventDict

from devstack.stack import Stack
from tests.support.commands import create_wallet, credit, debit, new_id, transfer
from tests.support.ledger import balances, codes, engine_of, fail_one_command, foreign_transaction, recorded, run
from tests.support.postgres import administrator, migrated_database
from tests.support.received import received
from worker import database
from worker.errors import Conflict
from worker.ledger import batch
from worker.ledger.settle import LONE_CONFLICTS_MAX, Parked, settle

LOCK_TIMEOUT_MS = 100
"""Instead of the two seconds of a real worker."""

LOCK_WALLET = "SELECT FROM wallets WHERE id = $1::uuid FOR UPDATE"

# An entry of version 1 in the book of a wallet that is at version 0.
ENTRY_TOO_MANY = """
INSERT INTO ledger
SELECT (jsonb_populate_record(ledger, '{"version": 1}')).* FROM ledger WHERE wallet_id = $1::uuid
"""


@pytest.fixture(autouse=True)
def log() -> Iterator[list[EventDict]]:
    """What is logged, instead of a long rendering of each traceback."""
    with capture_logs() as events:
        yield events


@pytest.fixture
async def engine(environment, monkeypatch) -> AsyncIterator[AsyncEngine]:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", LOCK_TIMEOUT_MS)
    async with engine_of(environment) as engine:
        yield engine


async def test_behind_a_foreign_lock_waits_only_what_must_not_overtake(environment, engine):
    """The same wallet, the same key, and chains of both through transfers are parked; all others run."""
    a, b, c, d, e, f = (new_id() for _ in range(6))
    await run(engine, *(create_wallet(id_) for id_ in (a, b, c, d, e)))
    commands = [
        received(credit(b)),
        received(credit(a), key=b"k"),
        received(transfer(a, b)),
        received(credit(b)),
        received(transfer(b, c)),
        received(debit(c)),
        received(credit(d), key=b"k"),
        received(debit(d)),
        received(debit(e), key=b"another"),
        received(create_wallet(f)),
    ]
    parked = Parked()

    async with foreign_transaction(environment) as somebody:
        await somebody.execute(LOCK_WALLET, a)
        outcomes = await settle(engine, commands, parked)

    assert codes(outcomes) == ["accepted", *[None] * 7, "accepted", "accepted"]
    assert parked.wallets == {a, b, c, d}
    assert parked.keys == {b"k"}
    assert {id_: version for id_, (_, version) in (await balances(engine)).items()} == {
        a: 0,
        b: 1,
        c: 0,
        d: 0,
        e: 1,
        f: 0,
    }


async def test_what_was_parked_stays_so_until_the_lock_is_gone_and_then_runs_in_order(environment, engine):
    """New commands queue behind parked ones without touching the lock; afterwards all is as if nobody had waited."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a, "10"), create_wallet(b, "0"))
    first, second, other = received(debit(a, "10")), received(credit(a, "5")), received(credit(b))
    parked = Parked()

    async with foreign_transaction(environment) as somebody:
        await somebody.execute(LOCK_WALLET, a)
        waiting = await settle(engine, [first], parked)
    behind = await settle(engine, [second, other], parked)
    afterwards = await settle(engine, [first, second], Parked())

    assert codes(waiting) == [None]
    assert codes(behind) == [None, "accepted"]
    assert codes(afterwards) == ["accepted", "accepted"]
    assert [str(balance) for balance, _ in (await balances(engine)).values()].count("5.0000") == 1


async def test_a_lock_on_no_wallet_parks_what_waits_for_it(environment, engine):
    """Somebody who locks a whole table holds up everything, and nothing fails."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    commands = [received(credit(a)), received(credit(b)), received(credit(a))]
    waited = []

    for table in ("wallets", "commands", "ledger"):
        async with foreign_transaction(environment) as somebody:
            await somebody.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            waited.append(codes(await settle(engine, commands, Parked())))
    afterwards = await settle(engine, commands, Parked())

    assert waited == [[None] * 3] * 3
    assert codes(afterwards) == ["accepted"] * 3
    await balances(engine)


async def test_a_command_that_always_fails_is_found_and_its_neighbours_run(environment, engine, log):
    """The batch is halved until it stands alone: it gets InternalError, stored, and takes no effect."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    commands = [credit(a, str(n + 1)) for n in range(16)]
    commands[11] = bad = transfer(a, b, "50")

    async with fail_one_command(environment, bad["commandId"]):
        outcomes = await run(engine, *commands)
        again = await run(engine, *commands)

    assert codes(outcomes) == ["accepted"] * 11 + ["InternalError"] + ["accepted"] * 4
    assert json.loads(outcomes[11].reply)["commandId"] == bad["commandId"]
    assert [outcome.reply for outcome in again] == [outcome.reply for outcome in outcomes]
    assert all(outcome.replayed for outcome in again)
    assert await recorded(engine, bad["commandId"]) == [(1, "InternalError")]
    assert [event["command_id"] for event in log if event["event"] == "command_failed"] == [bad["commandId"]]
    assert sum(event["event"] == "batch_bisected" for event in log) == 4
    after = {id_: (str(balance), version) for id_, (balance, version) in (await balances(engine)).items()}
    assert after == {a: (f"{100 + 136 - 12}.0000", 15), b: ("100.0000", 0)}


async def test_a_failed_command_runs_when_it_is_replayed_after_the_mend(environment, engine):
    """Under the same id, as the next attempt."""
    a = new_id()
    await run(engine, create_wallet(a))
    bad = credit(a)

    async with fail_one_command(environment, bad["commandId"]):
        (failed,) = await run(engine, bad)
        (failed_again,) = await run(engine, received(bad, [("dlq_attempt", b"2")]))
    (mended,) = await run(engine, received(bad, [("dlq_attempt", b"3")]))

    assert codes([failed, failed_again, mended]) == ["InternalError", "InternalError", "accepted"]
    assert not failed_again.replayed
    assert await recorded(engine, bad["commandId"]) == [(1, "InternalError"), (2, "InternalError"), (3, None)]
    assert (await balances(engine))[a][1] == 1


@pytest.mark.parametrize("conflicts", [1, 2, LONE_CONFLICTS_MAX - 1])
async def test_a_lone_command_that_others_keep_overtaking_is_not_at_fault(engine, monkeypatch, conflicts):
    """A conflict is tried again; no sender hears of it."""
    a = new_id()
    await run(engine, create_wallet(a))
    persist, left = batch.persist, conflicts

    async def overtaken(connection, decided) -> None:
        nonlocal left
        await persist(connection, decided)
        if left:
            left -= 1
            raise Conflict("somebody was quicker")

    monkeypatch.setattr(batch, "persist", overtaken)

    assert codes(await run(engine, credit(a))) == ["accepted"]
    assert left == 0
    assert (await balances(engine))[a][1] == 1


async def test_books_that_contradict_the_wallet_fail_its_commands_and_no_others(environment, engine):
    """An entry stands already where the next one goes: that never mends itself, so it ends."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    async with administrator(environment, environment["DB_NAME"]) as admin:
        await admin.execute(ENTRY_TOO_MANY, a)

    outcomes = await run(engine, credit(b), credit(a), credit(b))

    assert codes(outcomes) == ["accepted", "InternalError", "accepted"]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda stack: stack.kill("postgres"), id="killed"),
        pytest.param(lambda stack: stack.down(["postgres"]), id="stopped"),
    ],
)
async def test_while_postgres_is_away_the_batch_waits_and_nothing_happens_twice(tmp_path, end):
    """An outage is never answered: the same batch is tried again until the server is back."""
    own = Stack(tmp_path / "stack")
    await asyncio.to_thread(own.up, ["postgres"])
    try:
        async with migrated_database(own.environment()) as environment, engine_of(environment) as engine:
            a, b = new_id(), new_id()
            await run(engine, create_wallet(a, "1000"), create_wallet(b, "0"))
            batches = [[transfer(a, b) for _ in range(20)] for _ in range(30)]
            told, half = [], asyncio.Event()

            async def work() -> None:
                for commands in batches:
                    told.extend(await run(engine, *commands))
                    if len(told) == 200:
                        half.set()

            working = asyncio.create_task(work())
            await half.wait()
            await asyncio.to_thread(end, own)
            await asyncio.to_thread(own.up, ["postgres"])
            await working
            after = await balances(engine)

            assert codes(told) == ["accepted"] * 600
            assert {id_: (str(balance), version) for id_, (balance, version) in after.items()} == {
                a: ("400.0000", 600),
                b: ("600.0000", 600),
            }
    finally:
        await asyncio.to_thread(own.down)

"""A batch in one transaction, on a real Postgres: what is remembered, and what happens when two come at once."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from tests.support.at_once import Gate, at_once
from tests.support.commands import create_wallet, credit, debit, new_id, transfer
from tests.support.ledger import balances, codes, engine_of, foreign_transaction, recorded, run, until_waiting
from tests.support.postgres import administrator
from tests.support.received import received
from worker.database import raw_connection, raw_transaction
from worker.errors import Conflict
from worker.ledger import batch, lock
from worker.ledger.batch import run_batch
from worker.ledger.lock import find_busy_wallets

TRANSFERS_EACH = 250
BATCH_COMMANDS = 10
WALLETS_AT_ONCE = 500


async def test_a_batch_is_decided_in_order_and_kept(engine):
    """Each command sees what the ones before it did; what is answered is what stands in the books."""
    a, b = new_id(), new_id()

    outcomes = await run(
        engine,
        credit(a),
        create_wallet(a, "10"),
        create_wallet(b, "0"),
        transfer(a, b, "7.5"),
        debit(a, "3"),
        debit(b, "2.5"),
        transfer(b, a, "5", expectedVersion=2),
    )

    assert codes(outcomes) == [
        "WalletNotFound",
        "accepted",
        "accepted",
        "accepted",
        "InsufficientFunds",
        "accepted",
        "accepted",
    ]
    assert {id_: (str(balance), version) for id_, (balance, version) in (await balances(engine)).items()} == {
        a: ("7.5000", 2),
        b: ("0.0000", 3),
    }
    states = [(w["balance"], w["version"]) for w in json.loads(outcomes[-1].reply)["wallets"]]
    assert states == [("0.0000", 3), ("7.5000", 2)]


async def test_a_worker_that_starts_anew_recalls_what_ran(environment, engine):
    """Accepted or rejected, a command gets its first reply again, byte for byte, and nothing happens."""
    a, b = new_id(), new_id()
    commands = [
        create_wallet(a, metadata={"b": 1, "a": "é"}),
        credit(b),
        create_wallet(b),
        transfer(a, b),
        debit(a, "1000"),
    ]
    first = await run(engine, *commands)
    before = await balances(engine)
    await engine.dispose()

    async with engine_of(environment) as restarted:
        # Found by looking, not by what Postgres refuses to write twice: that would be tried again, and say so.
        with capture_logs() as log:
            again = await run(restarted, *reversed(commands), credit(a, "5"))

        assert log == []
        assert [outcome.reply for outcome in again[:-1]] == [outcome.reply for outcome in reversed(first)]
        assert all(outcome.replayed and not outcome.events and not outcome.entries for outcome in again[:-1])
        assert [outcome.made for outcome in again[:-1]] == [
            tuple((event.wallet_id, event.version) for event in outcome.events) for outcome in reversed(first)
        ]
        assert not again[-1].replayed
        assert (await balances(restarted))[b] == before[b]


async def test_a_reused_id_is_a_conflict_after_a_restart_as_well(environment, engine):
    """The meaning of the first payload is remembered for ever."""
    a = new_id()
    paid = credit(a, "5")
    await run(engine, create_wallet(a, "0"), paid)

    async with engine_of(environment) as restarted:
        outcomes = await run(restarted, {**paid, "amount": "6"}, {**paid, "amount": "5.00"})

        assert codes(outcomes) == ["IdempotencyConflict", "accepted"]
        assert outcomes[1].replayed
        assert str((await balances(restarted))[a][0]) == "5.0000"


@pytest.mark.parametrize("commits", [True, False], ids=["the first commits", "the first is lost"])
async def test_two_workers_that_open_the_same_wallet_at_once(environment, engine, other, monkeypatch, commits):
    """Nothing is there to lock: the unique violation makes the later one look again."""
    a, b = new_id(), new_id()
    one, two = create_wallet(a, "1"), create_wallet(a, "2")

    (first, _), (second, _) = await at_once(
        environment,
        monkeypatch,
        run(engine, one, create_wallet(b, "0")),
        run(other, two, credit(a, "4")),
        commits=commits,
    )

    assert codes([first, second]) == (
        ["accepted", "WalletAlreadyExists"] if commits else ["WalletAlreadyExists", "accepted"]
    )
    assert str((await balances(engine))[a][0]) == ("5.0000" if commits else "6.0000")


@pytest.mark.parametrize("commits", [True, False], ids=["the first commits", "the first is lost"])
@pytest.mark.parametrize("kind", ["create", "credit", "transfer", "refused", "nowhere"])
async def test_a_command_that_two_workers_run_at_once_takes_effect_once(
    environment, engine, other, monkeypatch, kind, commits
):
    """Whichever commits, the other gives its reply, byte for byte: with wallets to lock and without."""
    a, b, missing = new_id(), new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    command = {
        "create": create_wallet(missing),
        "credit": credit(a, "5"),
        "transfer": transfer(a, b, "5"),
        "refused": debit(a, "500"),
        "nowhere": credit(missing),
    }[kind]

    with capture_logs() as log:
        (first,), (second,) = await at_once(
            environment, monkeypatch, run(engine, command), run(other, command), commits=commits
        )

    # Where there is a wallet to lock, the later one looks only afterwards, and finds it at the first try.
    collided = any(event["event"] == "batch_conflict" for event in log)
    assert collided == (commits and kind in {"create", "nowhere"})
    assert first.reply == second.reply
    assert (first.replayed, second.replayed) == (not commits, commits)
    assert len(await recorded(engine, command["commandId"])) == 1
    await balances(engine)


@pytest.mark.parametrize("commits", [True, False], ids=["the first commits", "the first is lost"])
async def test_one_id_for_two_commands_at_once_is_a_conflict(environment, engine, other, monkeypatch, commits):
    """Two wallets, so no lock makes them wait: the command's own row does."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    one = credit(a, "5")
    two = {**credit(b, "5"), "commandId": one["commandId"]}

    (first,), (second,) = await at_once(environment, monkeypatch, run(engine, one), run(other, two), commits=commits)

    assert codes([first, second]) == (
        ["accepted", "IdempotencyConflict"] if commits else ["IdempotencyConflict", "accepted"]
    )
    moved = {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()}
    assert moved == ({a: "105.0000", b: "100.0000"} if commits else {a: "100.0000", b: "105.0000"})


@pytest.mark.parametrize("repeated", [True, False], ids=["the same commands", "other commands"])
async def test_batches_that_open_the_same_wallets_in_opposite_orders_do_not_deadlock(
    environment, engine, other, monkeypatch, repeated
):
    """Rows are written sorted: two that wait for a third, which is lost, do not get what the other needs."""
    wallets = sorted(new_id() for _ in range(WALLETS_AT_ONCE))
    first = [create_wallet(id_) for id_ in wallets]
    second, third = (first if repeated else [create_wallet(id_) for id_ in wallets] for _ in range(2))
    gate = Gate(monkeypatch)
    lost = asyncio.create_task(run(engine, *first))
    await gate.reached.wait()

    waiting = asyncio.gather(run(other, *second), run(other, *reversed(third)))
    await until_waiting(environment, sessions=2)
    gate.open(commits=False)
    outcomes = [await lost, *await waiting]

    accepted = [[o for o in batch_ if codes([o]) == ["accepted"] and not o.replayed] for batch_ in outcomes]
    assert sum(map(len, accepted)) == WALLETS_AT_ONCE
    assert len(await balances(engine)) == WALLETS_AT_ONCE
    assert await deadlocks(environment, engine, other) == 0


async def test_a_batch_that_waits_for_its_first_wallet_has_locked_none_of_the_others(environment, engine):
    """Locks are taken in the order of the ids, wherever the rows stand: nobody has what the one he waits for needs."""
    wallets = sorted((new_id() for _ in range(BATCH_COMMANDS)), reverse=True)
    for wallet_id in wallets:
        await run(engine, create_wallet(wallet_id))

    async with foreign_transaction(environment) as somebody:
        await somebody.execute("SELECT FROM wallets WHERE id = $1::uuid FOR UPDATE", wallets[-1])
        waiting = asyncio.create_task(run(engine, *map(credit, wallets)))
        await until_waiting(environment)
        async with raw_transaction(engine) as connection:
            busy = await find_busy_wallets(connection, wallets)

    assert codes(await waiting) == ["accepted"] * BATCH_COMMANDS
    assert busy == {wallets[-1]}


async def test_opposite_streams_of_transfers_wait_instead_of_deadlocking(environment, engine, other):
    """1,000 transfers between two wallets from two workers: locks are taken sorted, and nothing is tried twice."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a, "1000"), create_wallet(b, "1000"))

    async def stream(own: AsyncEngine, source: str, target: str) -> list[str | None]:
        told: list[str | None] = []
        for _ in range(TRANSFERS_EACH // BATCH_COMMANDS):
            told += codes(await run(own, *(transfer(source, target) for _ in range(BATCH_COMMANDS))))
        return told

    # Two of each worker: of three that wait for a fourth, two could each get the wallet that the other needs.
    with capture_logs() as log:
        told = await asyncio.gather(
            stream(engine, a, b), stream(engine, b, a), stream(other, a, b), stream(other, b, a)
        )

    assert told == [["accepted"] * TRANSFERS_EACH] * 4
    assert log == []
    after = {id_: (str(balance), version) for id_, (balance, version) in (await balances(engine)).items()}
    assert after == dict.fromkeys((a, b), ("1000.0000", 4 * TRANSFERS_EACH))
    assert await deadlocks(environment, engine, other) == 0


async def deadlocks(environment, *engines: AsyncEngine) -> int:
    """How many Postgres found in this database; its sessions tell when they end."""
    for engine in engines:
        await engine.dispose()
    async with administrator(environment) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        while await admin.fetchval(query, environment["DB_NAME"]):  # noqa: ASYNC110 -- the server has no event to wait for
            await asyncio.sleep(0.01)
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1"
        return await admin.fetchval(query, environment["DB_NAME"])


async def test_a_wallet_that_is_made_while_locks_are_waited_for_is_seen(environment, engine, other, monkeypatch):
    """Who sees what a batch did to one wallet sees also the wallet that it made: there is no time between the two."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a))

    first, second = await at_once(
        environment,
        monkeypatch,
        run(engine, debit(a, "1"), create_wallet(b, "5")),
        run(other, transfer(a, b, "99")),
        commits=True,
    )

    assert codes([*first, *second]) == ["accepted"] * 3
    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()} == {a: "0.0000", b: "104.0000"}


async def test_a_wallet_that_moves_in_spite_of_its_lock_is_never_overwritten(environment, engine, other, monkeypatch):
    """The update is guarded by the version that was read: without the lock, the batch is rolled back."""
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))
    monkeypatch.setattr(lock, "LOCK_WALLETS", lock.LOCK_WALLETS.replace("FOR UPDATE", ""))
    persist, command = batch.persist, transfer(a, b, "5")

    async def overtaken(connection, decided) -> None:
        monkeypatch.setattr(batch, "persist", persist)
        await run(other, credit(b, "1"))
        await persist(connection, decided)

    monkeypatch.setattr(batch, "persist", overtaken)
    with pytest.raises(Conflict, match="a locked row moved"):
        await run_batch(engine, [received(command)])

    assert await recorded(engine, command["commandId"]) == []
    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()} == {
        a: "100.0000",
        b: "101.0000",
    }
    monkeypatch.setattr(batch, "persist", overtaken)
    assert codes(await run(engine, command)) == ["accepted"]
    assert str((await balances(engine))[b][0]) == "107.0000"


async def test_a_batch_costs_as_many_statements_as_a_lone_command(engine):
    """One statement a table, whatever the number of commands: an await in a loop over them would be a defect."""
    wallets = [new_id() for _ in range(101)]
    await run(engine, create_wallet(wallets[0]))
    # The driver asks a new connection for its types once.
    await run(engine, credit(wallets[0]))
    asked: list[str] = []

    async with raw_connection(engine) as connection:
        connection.add_query_logger(lambda record: asked.append(record.query))
    await run(engine, create_wallet(wallets[1]), credit(wallets[0]))
    few = len(asked)
    await run(engine, *map(create_wallet, wallets[2:]), *map(credit, wallets))

    assert few == 6, asked
    assert len(asked) == 2 * few

"""Several commands in one transaction beside the database, on real servers: all of them happen, or nothing does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tests.support.beside import beside, book_of, everything, lose_answer_to_commit
from tests.support.commands import atomic, credit, debit, new_id, place_hold
from tests.support.ledger import balances, codes, foreign_transaction, recorded, run, states, until_waiting
from worker import errors
from worker.database import raw_connection
from worker.ledger import bounded
from worker.ledger.entry import event_id
from worker.outbox import append_direct
from worker.outbox.run import runs_of
from worker.repository import WalletRepository

SHORT_S = 0.4
"""Instead of the five seconds of a real repository."""


@pytest.fixture
async def wallets(environment) -> AsyncIterator[WalletRepository]:
    async with beside(environment) as wallets:
        yield wallets


@pytest.fixture
async def pair(wallets) -> tuple[str, str]:
    """Two wallets with 100 each, the one that sorts before the other first."""
    a, b = sorted((new_id(), new_id()))
    for id_ in (a, b):
        await wallets.create_wallet(id_, "owner", initial_balance="100")
    return a, b


async def test_a_debit_and_a_hold_happen_together(environment, engine, wallets, pair):
    """Each part sees what the ones before it did, and all are there when the block is left: rows, events, group."""
    a, _ = pair
    hold_id = new_id()

    async with wallets.transaction() as tx:
        paid = await tx.debit(a, "60", reference="order-1")
        held = await tx.place_hold(a, hold_id, "40")
        outside = await states(engine)

    assert (paid.index, paid.type, paid.status) == (0, "DebitWallet", "accepted")
    assert held.hold is not None and (held.index, str(held.hold.amount)) == (1, "40.0000")
    assert outside[a] == ("100.0000", "0.0000", 0)
    assert (await states(engine))[a] == ("40.0000", "40.0000", 2)
    assert tx.reply is not None and (tx.reply.type, tx.reply.command_id) == ("Atomic", tx.command_id)
    assert tx.reply.parts == [paid, held]
    async with book_of(environment, engine) as book:
        assert await book.differing([a]) == []
        stream = await book.stream(a)
    assert [str(id_) for _, id_, *_ in stream[1:]] == [event_id(tx.command_id, place) for place in (0, 1)]
    assert {json.loads(data)["groupId"] for *_, data in stream[1:]} == {tx.command_id}


async def test_a_block_that_raises_leaves_nothing_behind(environment, engine, wallets, pair):
    """Its own error comes out as it is; no row, no event, no refusal is kept."""
    a, b = pair
    before = await everything(engine)

    with pytest.raises(ZeroDivisionError):
        async with wallets.transaction(command_id=new_id()) as tx:
            await tx.transfer(a, b, "5")
            await tx.place_hold(b, new_id(), "1")
            raise ZeroDivisionError

    assert tx.reply is None
    assert await everything(engine) == before
    async with book_of(environment, engine) as book:
        assert [len(await book.stream(id_)) for id_ in pair] == [1, 1]


async def test_a_part_that_is_refused_ends_the_transaction(engine, wallets, pair):
    """Whether the block lets the error pass, swallows it or asks for more: nothing is left behind."""
    a, b = pair
    before, command_id = await everything(engine), new_id()

    with pytest.raises(errors.InsufficientFundsError) as passed:
        async with wallets.transaction(command_id=command_id) as tx:
            await tx.credit(b, "5")
            await tx.debit(a, "101")
    with pytest.raises(errors.InsufficientFundsError) as swallowed:
        async with wallets.transaction(command_id=command_id) as tx:
            await tx.credit(b, "5")
            with pytest.raises(errors.InsufficientFundsError):
                await tx.debit(a, "101")
            with pytest.raises(errors.InsufficientFundsError):
                await tx.credit(a, "1")

    assert [raised.value.command_id for raised in (passed, swallowed)] == [command_id] * 2
    assert passed.value.details["available"] == "100.0000"
    assert await everything(engine) == before


async def test_the_same_atomic_over_kafka_is_a_repeat(engine, wallets, pair):
    """To the stores a block is the group of its parts: same meaning, same reply."""
    a, b = pair
    hold_id = new_id()

    async with wallets.transaction() as tx:
        await tx.debit(a, "60.0", reference="r")
        await tx.place_hold(b, hold_id, 40, hold_type="ESCROW", metadata={"k": 1})
    before = await everything(engine)
    parts = debit(a, "60", reference="r"), place_hold(b, hold_id, "40.00", holdType="ESCROW", metadata={"k": 1})
    (outcome,) = await run(engine, {**atomic(*parts), "commandId": tx.command_id})

    assert outcome.replayed and codes([outcome]) == ["accepted"]
    assert tx.reply is not None and json.loads(outcome.reply) == tx.reply.model_dump(mode="json") | {
        "processedAt": json.loads(outcome.reply)["processedAt"]
    }
    assert await everything(engine) == before


async def test_a_block_that_ran_over_kafka_gets_its_first_outcomes(engine, wallets, pair):
    """It is run, and changes nothing; so is one that ran here."""
    a, b = pair
    hold_id = new_id()
    command = atomic(debit(a, "60"), place_hold(b, hold_id, "40"))
    await run(engine, command)
    await wallets.release_hold(b, hold_id)
    before = await everything(engine)

    replies = []
    for _ in range(2):
        async with wallets.transaction(command_id=command["commandId"]) as tx:
            told = [await tx.debit(a, "60"), await tx.place_hold(b, hold_id, "40")]
        replies.append(tx.reply)

    assert replies[0] == replies[1]
    assert replies[0] is not None and replies[0].parts == told
    assert told[1].hold is not None and told[1].hold.status == "ACTIVE"
    assert await everything(engine) == before


@pytest.mark.parametrize(
    "amounts", [("1", "3"), ("1",), ("1", "2", "3")], ids=["another amount", "fewer parts", "more parts"]
)
async def test_another_block_under_the_same_id_is_a_conflict(engine, wallets, pair, amounts):
    """The first meaning stands."""
    a, _ = pair
    async with wallets.transaction() as first:
        await first.debit(a, "1")
        await first.debit(a, "2")
    before = await everything(engine)

    with pytest.raises(errors.IdempotencyConflictError) as raised:
        async with wallets.transaction(command_id=first.command_id) as tx:
            for amount in amounts:
                await tx.debit(a, amount)

    assert raised.value.command_id == first.command_id
    assert await everything(engine) == before


async def test_what_was_refused_over_kafka_is_refused_at_once(engine, wallets, pair):
    """The block does not even begin."""
    a, b = pair
    command = atomic(credit(b), debit(a, "101"))
    await run(engine, command)

    with pytest.raises(errors.InsufficientFundsError) as raised:
        async with wallets.transaction(command_id=command["commandId"]):
            pytest.fail("the block was begun")

    assert raised.value.details["index"] == 1


async def test_a_lone_part_is_that_command_and_no_part_is_nothing(engine, wallets, pair):
    """A group has two parts at least: one is recalled as itself, and an empty block leaves nothing behind."""
    a, _ = pair
    async with wallets.transaction() as tx:
        first = await tx.credit(a, "5")
    async with wallets.transaction(command_id=tx.command_id) as again:
        assert await again.credit(a, "5") == first
    (outcome,) = await run(engine, {**credit(a, "5"), "commandId": tx.command_id})
    before = await everything(engine)
    async with wallets.transaction() as empty:
        pass

    assert outcome.replayed and tx.reply == again.reply
    assert empty.reply is None
    assert await everything(engine) == before
    assert (await balances(engine))[a][1] == 1


async def test_two_that_cross_do_not_wait_for_each_other(environment, engine, wallets, pair):
    """Against the order of the ids no lock is waited for: one is sent away at once, the other goes on."""
    a, b = pair
    has_b = asyncio.Event()

    async def in_order() -> None:
        async with wallets.transaction() as tx:
            await tx.debit(a, "1")
            await has_b.wait()
            await tx.credit(b, "1")

    async def against() -> None:
        async with wallets.transaction() as tx:
            await tx.debit(b, "1")
            has_b.set()
            await until_waiting(environment)
            await tx.credit(a, "1")

    one, other = await asyncio.gather(in_order(), against(), return_exceptions=True)

    assert one is None
    assert isinstance(other, errors.EventConcurrencyError)
    assert "LockNotAvailableError" in other.details["reason"]
    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()} == {
        a: "99.0000",
        b: "101.0000",
    }


async def test_a_free_wallet_may_be_named_against_the_order(engine, wallets, pair):
    """It is only waiting that could close a circle."""
    a, b = pair

    async with wallets.transaction() as tx:
        await tx.debit(b, "1")
        await tx.transfer(b, a, "1")
        await tx.create_wallet(new_id(), "owner")

    assert (await balances(engine))[a][1] == 1


async def test_the_same_block_twice_at_once_takes_effect_once(environment, engine, wallets, pair):
    """The later one would be refused because of the first: it is told to try again, and then gets its outcome."""
    a, _ = pair
    command_id, begun, goes_on = new_id(), asyncio.Event(), asyncio.Event()

    async def block(*, waits: bool) -> None:
        async with wallets.transaction(command_id=command_id) as tx:
            await tx.debit(a, "100")
            if waits:
                begun.set()
                await goes_on.wait()
            await tx.credit(a, "1")

    first = asyncio.create_task(block(waits=True))
    await begun.wait()
    second = asyncio.create_task(block(waits=False))
    await until_waiting(environment)
    goes_on.set()
    told = await asyncio.gather(first, second, return_exceptions=True)
    await block(waits=False)

    assert told[0] is None
    assert isinstance(told[1], errors.EventConcurrencyError)
    assert await recorded(engine, command_id) == [(1, None)]
    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()}[a] == "1.0000"


async def test_a_transaction_ends_after_five_seconds_and_the_worker_goes_on(engine, wallets, pair, monkeypatch):
    """Nothing of it is left behind, and whoever waited for its wallets is answered."""
    a, _ = pair
    monkeypatch.setattr(bounded, "TRANSACTION_S", SHORT_S)
    begun = asyncio.Event()

    async def forgotten() -> None:
        async with wallets.transaction() as tx:
            await tx.debit(a, "1")
            begun.set()
            await asyncio.Event().wait()

    block = asyncio.create_task(forgotten())
    await begun.wait()
    outcomes = await run(engine, credit(a, "5"))

    with pytest.raises(errors.NotDoneError, match="longer than"):
        await block
    assert codes(outcomes) == ["accepted"]
    assert str((await balances(engine))[a][0]) == "105.0000"


async def test_postgres_ends_the_transaction_of_a_process_that_hangs(environment, engine, wallets, pair, monkeypatch):
    """The limit does not depend on the process that it is to protect from."""
    a, _ = pair
    monkeypatch.setattr(bounded, "TRANSACTION_S", SHORT_S)
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hanging() -> None:
        async with beside(environment) as own, own.transaction() as tx:
            await tx.debit(a, "1")
            loop.call_soon_threadsafe(hangs.set)
            time.sleep(5 * SHORT_S)  # noqa: ASYNC251 -- what it is about: nothing in this process can run meanwhile
            hung_until.append(time.monotonic())

    hung_until: list[float] = []
    process = asyncio.create_task(asyncio.to_thread(asyncio.run, hanging()))
    await hangs.wait()
    outcomes = await run(engine, credit(a, "5"))
    answered = time.monotonic()

    with pytest.raises(errors.NotDoneError):
        await process
    assert codes(outcomes) == ["accepted"]
    assert answered < hung_until[0]
    assert str((await balances(engine))[a][0]) == "105.0000"


async def test_a_part_that_is_cut_off_ends_the_transaction(environment, engine, wallets, pair):
    """What became of a cancelled statement is not known, so nothing may build on it."""
    a, _ = pair
    before = await everything(engine)

    async with foreign_transaction(environment) as somebody:
        await somebody.execute("SELECT FROM wallets WHERE id = $1::uuid FOR UPDATE", a)
        with pytest.raises(errors.NotDoneError, match="cut off"):
            async with wallets.transaction() as tx:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(tx.debit(a, "1"), 0.05)

    assert await everything(engine) == before


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
async def test_a_lost_answer_to_the_commit_is_told_by_the_same_block(engine, wallets, pair, monkeypatch, committed):
    """Under the same id it takes effect once, whatever became of the first."""
    a, b = pair

    async def block(command_id: str) -> None:
        async with wallets.transaction(command_id=command_id) as tx:
            await tx.debit(a, "5")
            await tx.credit(b, "5")

    command_id = new_id()
    lose_answer_to_commit(monkeypatch, committed=committed)
    with pytest.raises(errors.OutcomeUnknownError) as raised:
        await block(command_id)
    await block(raised.value.command_id)

    assert {id_: str(balance) for id_, (balance, _) in (await balances(engine)).items()} == {
        a: "95.0000",
        b: "105.0000",
    }


async def test_after_the_commit_the_only_error_is_that_the_append_is_pending(
    environment, engine, wallets, pair, monkeypatch
):
    """It is done; the same block again brings the events along, and changes nothing."""
    a, b = pair
    monkeypatch.setattr(append_direct, "APPEND_S", 0.0)
    with capture_logs(), pytest.raises(errors.AppendPendingError) as pending:
        async with wallets.transaction() as tx:
            await tx.debit(a, "5")
            await tx.credit(b, "5")
    monkeypatch.undo()

    async with book_of(environment, engine) as book:
        assert [len(await book.stream(id_)) for id_ in pair] == [1, 1]
        async with wallets.transaction(command_id=pending.value.command_id) as again:
            await again.debit(a, "5")
            await again.credit(b, "5")

        assert again.reply == pending.value.reply == tx.reply
        assert [len(await book.stream(id_)) for id_ in pair] == [2, 2]
        assert await book.differing(pair) == []


async def test_the_time_that_counts_is_that_of_the_end(engine, wallets, pair):
    """A hold that is over by then was not placed: all of the group has one time, as over Kafka."""
    a, _ = pair
    before = await everything(engine)

    with pytest.raises(errors.HoldExpiredError):
        async with wallets.transaction() as tx:
            expires_at = datetime.now(UTC) + timedelta(seconds=0.3)
            await tx.place_hold(a, new_id(), "1", expires_at=expires_at)
            await tx.credit(a, "1")
            async with raw_connection(engine) as connection:
                while await connection.fetchval("SELECT clock_timestamp() <= $1", expires_at):  # noqa: ASYNC110 -- a clock has no event
                    await asyncio.sleep(0.01)

    assert await everything(engine) == before


async def test_parts_that_are_asked_for_at_once_take_turns(engine, wallets, pair):
    """A connection does one thing at a time."""
    a, b = pair

    async with wallets.transaction() as tx:
        told = await asyncio.gather(*(tx.transfer(*ids, "1") for ids in [(a, b), (b, a)] * 10))

    assert [one.index for one in told] == list(range(20))
    assert (await balances(engine))[a][1] == 20


async def test_a_transaction_has_a_hundred_parts_at_most(engine, wallets, pair):
    """As a group over Kafka."""
    a, _ = pair
    async with wallets.transaction() as tx:
        for _ in range(100):
            await tx.credit(a, "1")
    with pytest.raises(errors.InvalidCommandError, match="at most 100"):
        async with wallets.transaction() as tx:
            for _ in range(101):
                await tx.credit(a, "1")

    assert (await balances(engine))[a][1] == 100


async def test_what_a_part_cannot_be_given_is_refused(wallets, pair):
    """The id and the deadline are the transaction's; a wrong amount is told with the transaction's id."""
    a, _ = pair
    with pytest.raises(TypeError, match="belong to the group or the transaction"):
        async with wallets.transaction() as tx:
            await tx.credit(a, "1", command_id=new_id())
    with pytest.raises(errors.InvalidAmountError) as raised:
        async with wallets.transaction() as tx:
            await tx.credit(a, "0")

    assert raised.value.command_id == tx.command_id


async def test_a_transaction_that_is_over_takes_no_more(engine, wallets, pair):
    """Its connection belongs to others by then."""
    a, _ = pair
    async with wallets.transaction() as tx:
        await tx.credit(a, "1")

    with pytest.raises(errors.NotDoneError, match="is over"):
        await tx.credit(a, "1")
    assert (await balances(engine))[a][1] == 1


async def test_worker_and_transactions_work_on_the_same_wallets(environment, engine, wallets, pair):
    """Those who are sent away try again; every event is in its stream once."""
    a, b = pair

    async def move(source: str, target: str) -> None:
        async with wallets.transaction() as tx:
            await tx.debit(source, "1")
            await tx.credit(target, "1")

    async def direct(source: str, target: str) -> None:
        for _ in range(10):
            while True:
                try:
                    await move(source, target)
                    break
                except errors.EventConcurrencyError:
                    continue

    async with book_of(environment, engine) as book:

        async def worker() -> None:
            for _ in range(10):
                outcomes = await run(engine, *(credit(id_) for id_ in (a, b) * 5))
                await book.append(runs_of(event for outcome in outcomes for event in outcome.events))

        with capture_logs():
            await asyncio.gather(worker(), direct(a, b), direct(b, a))

        assert {id_: (str(balance), version) for id_, (balance, version) in (await balances(engine)).items()} == (
            dict.fromkeys(pair, ("150.0000", 70))
        )
        assert await book.differing(pair) == []

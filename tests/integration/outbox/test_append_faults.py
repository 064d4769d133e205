"""The append while KurrentDB is slow, lies, is cut off, killed, or without the call.

Every event ends in its stream once.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from tests.integration.kurrentdb.standin import StandIn, start_standin
from tests.support.outbox import ids_of, open_book
from tests.support.workers import eventually
from worker.outbox import append, append_to_stream, event_store
from worker.retry import until_available

WAYS = pytest.mark.parametrize("has_append_records", [True, False], ids=["append_records", "append_to_stream"])

FAULTS = [
    {"timeout_after_write_every": 3, "timeout_ms": 50},
    {"timeout_before_write_every": 3, "timeout_ms": 50},
    {"drop_after_commit_every": 3},
    {"drop_before_commit_every": 3},
    {"not_ready_s": 1.0},
    {"append_delay_min_ms": 1, "append_delay_max_ms": 50},
]


@pytest.fixture(scope="session")
async def shared_standin(tmp_path_factory) -> AsyncIterator[StandIn]:
    standin = await start_standin(tmp_path_factory.mktemp("faults"))
    yield standin
    await standin.stop()


@pytest.fixture
async def faulty(shared_standin) -> AsyncIterator[StandIn]:
    """A server that does whatever it is told, until the end of the test."""
    usual = await shared_standin.set_faults()
    yield shared_standin
    await shared_standin.set_faults(**usual)


async def until_reachable(book) -> None:
    await until_available("kurrentdb", book.store.is_ready)


@WAYS
@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: next(iter(faults)))
async def test_whatever_is_unknown_is_sent_again(engine, faulty, faults, has_append_records):
    """Timed out, cut, not ready: unknown, so the same again, until every event is there once."""
    async with open_book(engine, faulty) as book:
        batches = [await book.wallets(40, credited=1) for _ in range(4)]
        await faulty.set_faults(append_records=has_append_records, **faults)

        contradictory = [await book.append(batch) for batch in batches]

        await faulty.set_faults(**dict.fromkeys(faults, 0))
        await until_reachable(book)
        assert contradictory == [frozenset()] * 4
        for batch in batches:
            assert await book.differing(ids_of(batch)) == []


@WAYS
async def test_one_append_in_fifty_that_times_out_does_not_repeat_the_others(engine, faulty, has_append_records):
    """What was written of a batch stays written: only what is unknown is sent again."""
    async with open_book(engine, faulty) as book:
        runs = await book.wallets(400)
        await faulty.set_faults(append_records=has_append_records, timeout_after_write_every=50, timeout_ms=20, seed=7)

        contradictory = await book.append(runs)

        assert not contradictory
        assert sum(len(call) for call in book.store.calls) < 2 * len(runs)
        assert await book.differing(ids_of(runs)) == []


@WAYS
async def test_a_server_that_is_killed_and_comes_back_has_every_event_once(engine, tmp_path, has_append_records):
    """Appends go on where the server left off: what it acknowledged is there, what it did not is sent again."""
    standin = await start_standin(tmp_path)
    port = int(standin.target.rsplit(":", 1)[1])
    async with open_book(engine, standin) as book:
        await standin.set_faults(append_records=has_append_records, append_delay_max_ms=20, fsync_delay_ms=5)
        batches = [await book.wallets(60, credited=2) for _ in range(10)]

        async def kill_and_restart() -> StandIn:
            await eventually(lambda: len(book.store.calls) >= 3, "the third call")
            await standin.stop(signal.SIGKILL)
            options = [] if has_append_records else ["--no-append-records"]
            return await start_standin(tmp_path, *options, port=port)

        restarting = asyncio.create_task(kill_and_restart())
        contradictory = [await book.append(batch) for batch in batches]
        restarted = await restarting

        await until_reachable(book)
        assert contradictory == [frozenset()] * 10
        assert book.metrics.appends_unknown._value.get() > 0
        for batch in batches:
            assert await book.differing(ids_of(batch)) == []
    await restarted.stop()


@WAYS
async def test_a_server_that_no_longer_answers_is_given_up_and_asked_again(
    engine, tmp_path, monkeypatch, has_append_records
):
    """A black hole: a call ends after its time limit, and the same is sent again until the server is back."""
    monkeypatch.setattr(event_store, "CALL_TIMEOUT_S", 0.3)
    standin = await start_standin(tmp_path)
    async with open_book(engine, standin) as book:
        await standin.set_faults(append_records=has_append_records)
        runs = await book.wallets(20)
        await book.append(runs[:1])
        standin.process.send_signal(signal.SIGSTOP)

        appending = asyncio.create_task(book.append(runs))
        await eventually(lambda: len(book.store.calls) >= 4, "the same call again")
        standin.process.send_signal(signal.SIGCONT)

        assert not await appending
        assert await book.differing(ids_of(runs)) == []
    await standin.stop()


async def test_a_server_that_loses_the_call_in_the_middle_gets_an_append_for_each_stream(engine, faulty):
    """Found out once, at the first UNIMPLEMENTED, and said in the log: a node of an older version has taken over."""
    async with open_book(engine, faulty) as book:
        runs = await book.wallets(50, credited=2)
        await book.append([run.until(1) for run in runs[:25]])
        await faulty.set_faults(append_records=False)

        with capture_logs() as logs:
            contradictory = await book.append(runs)
            again = await book.append(runs)

        assert not contradictory and not again
        assert [line["event"] for line in logs] == ["append_records_missing"]
        assert await book.differing(ids_of(runs)) == []


@WAYS
async def test_an_append_that_is_cancelled_leaves_nothing_that_a_repeat_does_not_mend(
    engine, faulty, has_append_records
):
    """A worker that stops in the middle of an append: the next one sends the same again."""
    async with open_book(engine, faulty) as book:
        runs = await book.wallets(100)
        await until_reachable(book)
        delays = {"append_delay_min_ms": 100, "append_delay_max_ms": 200}
        await faulty.set_faults(append_records=has_append_records, **delays)
        appending = asyncio.create_task(book.append(runs))
        await eventually(lambda: book.store.calls, "the call")

        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending

        await faulty.set_faults(**dict.fromkeys(delays, 0))
        assert not await book.append(runs)
        assert await book.differing(ids_of(runs)) == []


async def test_a_worker_that_was_frozen_while_it_sent_sends_again(engine, faulty, monkeypatch):
    """gRPC cancels a call whose deadline passes while its request is being sent: nobody asked the worker to end."""
    async with open_book(engine, faulty) as book:
        await until_reachable(book)
        await faulty.set_faults(append_records=False)
        runs = await book.wallets(1, credited=1)
        monkeypatch.setattr(event_store, "CALL_TIMEOUT_S", 1.0)
        whole, frozen = append_to_stream._requests, []

        def freeze_once(run) -> Iterator[object]:
            yield from whole(run)
            if not frozen:
                frozen.append(run)
                time.sleep(2 * event_store.CALL_TIMEOUT_S)

        monkeypatch.setattr(append_to_stream, "_requests", freeze_once)

        assert not await asyncio.wait_for(book.append(runs), 20)

        assert frozen
        assert await book.differing(ids_of(runs)) == []


async def test_two_workers_that_share_all_wallets_do_not_help_each_other(engine, faulty):
    """Appends that overtake each other by some tens of milliseconds are waited for: no time-outs, nothing helped."""
    await faulty.set_faults(append_delay_min_ms=0, append_delay_max_ms=50)
    async with open_book(engine, faulty) as one, open_book(engine, faulty) as other:
        wallets = await one.wallets(20)
        await one.append(wallets)
        queues = ([], [])
        for turn in range(16):
            queues[turn % 2].append([await one.credit(run.wallet_id) for run in wallets])

        async def work(book, queue) -> None:
            for batch in queue:
                assert not await book.append(batch)

        await asyncio.gather(work(one, queues[0]), work(other, queues[1]))

        for book in (one, other):
            assert book.metrics.events_helped._value.get() == 0
            assert book.metrics.appends_unknown._value.get() == 0
        assert await one.differing(ids_of(wallets)) == []


async def test_a_postgres_that_is_away_is_waited_for(engine, faulty, monkeypatch):
    """What is read from the ledger while an append is mended is an outage like any other, never the end."""
    monkeypatch.setattr(append, "BEHIND_PATIENCE_S", 0.05)
    async with open_book(engine, faulty) as book:
        lost = await book.wallets(1, credited=1)
        mine = await book.credit(lost[0].wallet_id)

        def refuse(_pool):
            raise ConnectionRefusedError("no Postgres here")

        monkeypatch.setattr(type(engine.sync_engine.pool), "connect", refuse)
        appending = asyncio.create_task(book.append([mine]))
        with capture_logs() as logs:
            await eventually(lambda: logs, "a line that says what is away")
        monkeypatch.undo()

        assert not await appending
        assert (logs[0]["event"], logs[0]["server"]) == ("server_lost", "postgres")
        assert await book.differing(ids_of(lost)) == []

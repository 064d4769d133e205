"""Whose event stands before ours: an exact revision proves a number, so the event before is proven by its id."""

from __future__ import annotations

import asyncio

import pytest
from esdbclient import StreamState
from sqlalchemy import text

from tests.support.commands import create_wallet, new_id
from tests.support.outbox import ids_of
from tests.support.workers import eventually
from worker.contracts.events import stream_name
from worker.outbox import append
from worker.outbox.acknowledged import Acknowledged
from worker.outbox.event_store import Appended


@pytest.fixture
def nothing(book):
    """What a process has seen that started just now."""
    return Acknowledged(book.engine)


async def test_nothing_is_appended_behind_an_event_that_the_ledger_does_not_have(book, nothing):
    """A commit is in KurrentDB and was lost in Postgres: the wallet's next version fits behind it, by its number."""
    lost, sound = await book.wallets(2, credited=1)
    await book.append([lost.until(0), sound])
    await book.append_foreign(lost.wallet_id, 1, after=0)
    mine = [await book.credit(run.wallet_id) for run in (lost, sound)]

    contradictory = await book.append(mine, acknowledged=nothing)

    assert contradictory == {lost.wallet_id}
    assert len(await book.stream(lost.wallet_id)) == 2
    assert await book.differing([sound.wallet_id]) == []


async def test_a_proof_that_is_refused_by_a_deposed_leader_is_sent_before_what_stands_behind_it(book, nothing):
    """It answers as the stream stood before: no call names the wallet twice, which a server need not take."""
    (run,) = await book.wallets(1, credited=1)
    await book.append([run.until(0)])
    append_to_server, stale = book.store.append, [Appended([run.until(0)], {run.wallet_id: -1})]

    async def answer(runs):
        appended = stale.pop() if stale else await append_to_server(runs)
        assert len(ids_of(runs)) == len(runs)
        return appended

    book.store.append = answer

    assert not await book.append([], proofs=[run.proof()], acknowledged=nothing)

    assert not stale
    assert await book.differing([run.wallet_id]) == []


async def test_nothing_is_helped_behind_an_event_that_the_ledger_does_not_have(book, monkeypatch):
    """What a stream lacks is appended from the ledger only where the event before it is the ledger's."""
    monkeypatch.setattr(append, "BEHIND_PATIENCE_S", 0.1)
    (run,) = await book.wallets(1, credited=2)
    await book.append([run.until(0)])
    await book.append_foreign(run.wallet_id, 1, after=0)
    mine = await book.credit(run.wallet_id)

    contradictory = await book.append([mine])

    assert contradictory == {run.wallet_id}
    assert len(await book.stream(run.wallet_id)) == 2


async def test_a_repeated_command_is_not_appended_behind_an_event_that_the_ledger_does_not_have(book, nothing):
    """Its event is lacking, and would fit by its number: to ask for it must not write it."""
    (run,) = await book.wallets(1, credited=2)
    await book.append([run.until(0)])
    await book.append_foreign(run.wallet_id, 1, after=0)

    contradictory = await book.append([], proofs=[run.proof()], acknowledged=nothing)

    assert contradictory == {run.wallet_id}
    assert len(await book.stream(run.wallet_id)) == 2


async def test_an_event_that_another_worker_is_appending_is_waited_for_and_not_written_by_its_proof(book, nothing):
    """The event before ours is on its way: a copy of it would collide with the other worker's batch."""
    runs = await book.wallets(3)
    mine = [await book.credit(run.wallet_id) for run in runs]
    others, located = asyncio.Event(), book.store.locate

    async def locate(asked):
        revisions = await located(asked)
        others.set()
        return revisions

    book.store.locate = locate

    async def other_worker() -> None:
        await others.wait()
        await book.append(runs)

    _, contradictory = await asyncio.gather(other_worker(), book.append(mine, acknowledged=nothing))

    assert not contradictory
    assert book.metrics.events_helped._value.get() == 0
    assert [run.last for run in book.store.calls[0]] == [0, 0, 0]
    assert await book.differing(ids_of(runs)) == []


async def test_what_was_proven_once_costs_no_further_call(book, nothing):
    """The first append of a process to a stream asks where it stands and proves; the next one only appends."""
    runs = await book.wallets(20)
    await book.append(runs)
    first, second = [[await book.credit(run.wallet_id) for run in runs] for _ in range(2)]
    book.store.calls.clear()

    await book.append(first, acknowledged=nothing)
    nothing.add(first)
    await book.append(second, acknowledged=nothing)

    assert [{run.last for run in call} for call in book.store.calls] == [{0}, {1}, {2}]
    assert await book.differing(ids_of(runs)) == []


async def test_an_event_that_was_accepted_at_another_revision_contradicts(book, nothing):
    """A stream of that name was deleted softly: an append that expects none succeeds, behind where it ended."""
    wallet_id = new_id()
    await book.append_foreign(wallet_id, 4)
    await book.client.delete_stream(stream_name(wallet_id), current_version=StreamState.ANY)
    runs = [*await book.runs([create_wallet(wallet_id)]), *await book.wallets(1)]

    contradictory = await book.append(runs, acknowledged=nothing)

    assert contradictory == {wallet_id}
    assert await book.differing([runs[1].wallet_id]) == []


async def test_a_store_that_went_back_is_not_believed_to_have_what_it_acknowledged(book, nothing):
    """KurrentDB is an older copy of itself: its streams are completed, and nothing seen before counts any more."""
    (run,) = await book.wallets(1, credited=3)
    other = new_id()
    await book.append([run.until(1)])
    nothing.add([run, *await book.runs([create_wallet(other)])])
    mine = await book.credit(run.wallet_id)

    contradictory = await book.append([mine], acknowledged=nothing)

    assert not contradictory
    assert other not in nothing
    assert await book.differing([run.wallet_id]) == []


async def test_a_new_connection_to_postgres_makes_a_process_forget_what_it_has_seen(book, nothing):
    """After a failover the ledger may lack its last entries, and have other ones at their versions."""
    nothing.add(await book.wallets(1))
    assert nothing._versions

    await book.engine.dispose()
    async with book.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))

    await eventually(lambda: not nothing._versions, "nothing is remembered")

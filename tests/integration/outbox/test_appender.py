"""A contradiction is believed the second time, over a new connection, and then holds for every process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from tests.support.outbox import ids_of
from worker.database import raw_transaction
from worker.ledger.quarantine import find_quarantined, list_quarantined, release
from worker.outbox.appender import Appender
from worker.outbox.event_store import Appended
from worker.outbox.run import Run


@pytest.fixture
def appender(book):
    """A process that has just started."""
    return Appender(book.store, book.engine, book.metrics)


async def test_what_a_first_connection_said_and_a_second_does_not_is_no_contradiction(book, appender, monkeypatch):
    """A deposed leader answers from an older state for a while: nothing is concluded from one node's word."""
    (run,) = await book.wallets(1)
    mine = await book.credit(run.wallet_id)
    await book.append([run])
    append, close, connections = book.store.append, book.store.close, [1]

    async def from_an_older_state(runs: Sequence[Run]) -> Appended:
        if connections[-1] == 1:
            return Appended(unwritten=list(runs), revisions={one.wallet_id: one.last + 5 for one in runs})
        return await append(runs)

    async def closing() -> None:
        connections.append(len(connections) + 1)
        await close()

    monkeypatch.setattr(book.store, "append", from_an_older_state)
    monkeypatch.setattr(book.store, "close", closing)

    with capture_logs() as logs:
        contradictory = await appender.append([mine], [])

    assert contradictory == frozenset()
    assert connections == [1, 2]
    assert await find_quarantined(book.engine, ids_of([run])) == frozenset()
    assert not [line for line in logs if line["event"] == "wallet_quarantined"]
    assert await book.differing(ids_of([run])) == []


async def test_a_contradiction_is_written_to_postgres_and_said_once(book, appender):
    """The other wallets of the call are appended, and acknowledged."""
    wrong, right = await book.wallets(2, credited=1)
    await book.append([wrong.until(0), right])
    await book.append_foreign(wrong.wallet_id, 1, after=0)
    mine = [await book.credit(run.wallet_id) for run in (wrong, right)]
    in_flight = await book.credit(wrong.wallet_id)

    with capture_logs() as logs:
        contradictory = await appender.append(mine, [])
        again = await appender.append([in_flight], [])

    assert contradictory == again == {wrong.wallet_id}
    (found,) = [one for one in await list_quarantined(book.engine) if one.wallet_id == wrong.wallet_id]
    assert "holds other events" in found.reason
    assert [line["wallet_id"] for line in logs if line["event"] == "wallet_quarantined"] == [wrong.wallet_id]
    assert right.wallet_id in appender.acknowledged
    assert wrong.wallet_id not in appender.acknowledged
    assert len(await book.stream(wrong.wallet_id)) == 2
    assert await book.differing([right.wallet_id]) == []


async def test_nothing_goes_into_a_quarantined_stream_though_it_would_fit(book, appender):
    """Decided before the quarantine and still in flight: its exact revision may be free by chance."""
    (run,) = await book.wallets(1, credited=1)
    await book.append([run.until(0)])
    await book.append_foreign(run.wallet_id, 1, after=0)
    first, second = [await book.credit(run.wallet_id) for _ in range(2)]
    await appender.append([first], [])
    await book.append_foreign(run.wallet_id, 1, after=1)

    contradictory = await appender.append([second], [])

    assert contradictory == {run.wallet_id}
    assert len(await book.stream(run.wallet_id)) == 3


async def test_a_released_wallet_goes_on_in_the_process_that_found_it(book, appender, monkeypatch):
    """The operator has put its stream right: no process has to be started anew."""
    (run,) = await book.wallets(1)
    mine = await book.credit(run.wallet_id)
    await book.append([run])
    append = book.store.append

    async def with_foreign_events(runs: Sequence[Run]) -> Appended:
        return Appended(unwritten=list(runs), revisions={one.wallet_id: one.last + 5 for one in runs})

    monkeypatch.setattr(book.store, "append", with_foreign_events)
    assert await appender.append([mine], []) == {run.wallet_id}
    monkeypatch.setattr(book.store, "append", append)
    assert await appender.append([mine], []) == {run.wallet_id}
    async with raw_transaction(book.engine) as connection:
        await release(connection, run.wallet_id)

    assert await appender.append([mine], []) == frozenset()
    assert await book.differing([run.wallet_id]) == []

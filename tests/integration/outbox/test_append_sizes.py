"""Appends of many streams and of many bytes, over both ways to append."""

from __future__ import annotations

from tests.support.outbox import ids_of
from tests.unit.outbox.test_run import new_run
from worker.outbox.run import Run


async def ids_in_stream(book, run: Run) -> list[str]:
    return [str(event_id) for _, event_id, _, _ in await book.stream(run.wallet_id)]


async def test_a_refusal_that_names_a_thousand_streams_comes_through(book):
    """The refusal travels in the call's trailers, far beyond gRPC's usual limit of 8 KiB."""
    runs = [new_run([10], first=5) for _ in range(1000)]

    appended = await book.store.append(runs)

    assert appended.revisions == dict.fromkeys(ids_of(runs), -1)
    assert len(appended.unwritten) == 1000


async def test_runs_that_are_too_large_for_one_call_go_in_several(book):
    """A run larger than a call, others beside it: all are written, and again is a success."""
    large, others = new_run([64 * 1024] * 300), [new_run([64 * 1024] * 20) for _ in range(10)]
    runs = [others[0], large, *others[1:]]

    contradictory = await book.append(runs)
    again = await book.append(runs)

    assert not contradictory and not again
    for run in runs:
        assert await ids_in_stream(book, run) == [event.event_id for event in run.events]


async def test_a_large_run_of_which_some_calls_were_written_is_continued(book):
    """The process died between two of its calls: the pieces that are there are proven, the others appended."""
    large = new_run([64 * 1024] * 300)
    await book.append([large.until(130)])

    contradictory = await book.append([large, new_run([10])])

    assert not contradictory
    assert await ids_in_stream(book, large) == [event.event_id for event in large.events]

"""What runs for ever in a worker may not end in silence: partitions would be held, and nothing taken from them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from worker.process import Process


async def running(work, *, closed: bool = False, closes: bool = False) -> list[Exception]:
    """Run `work` for ever in a process, and close that if it `closes`; the errors that were to stop it."""
    errors: list[Exception] = []
    async with AsyncExitStack() as resources:
        process = SimpleNamespace(stop=errors.append, intake=SimpleNamespace(closed=closed), _resources=resources)
        Process._run_forever(process, "work", work())
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
        if not closes:
            await asyncio.wait({task})
    await asyncio.wait({task})
    return errors


async def cancelled_by_nobody() -> None:
    raise asyncio.CancelledError


async def failed() -> None:
    raise ValueError("a bug")


async def over() -> None:
    return


@pytest.mark.parametrize(
    ("work", "why"), [(cancelled_by_nobody, "ended by itself"), (failed, "a bug"), (over, "ended by itself")]
)
async def test_what_runs_for_ever_and_ends_stops_the_process(work, why):
    """With an error, without one, or cancelled by a library."""
    (error,) = await running(work)

    assert why in str(error)


async def test_a_process_that_closes_cancels_what_runs_for_ever_and_that_is_no_error():
    """Nor is a library's cancellation meanwhile: clients are being closed."""
    assert await running(asyncio.Event().wait, closes=True) == []
    assert await running(cancelled_by_nobody, closed=True) == []

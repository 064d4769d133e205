"""Try the same again while a server is away: capped, jittered back-off, a log line when it goes and when it is back.

Only `Unavailable` is tried again, for as long as it takes: such an outage is never answered to a sender. What bounds
the waiting work is the pipeline, which takes no more from Kafka meanwhile. A client that cancels its own call is away,
too: otherwise the task that made it would end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from worker.cancellation import is_asked_for
from worker.errors import Unavailable
from worker.outages import say_back, say_lost, stop_waiting

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0

T = TypeVar("T")


async def until_available(server: str, call: Callable[[], Awaitable[T]]) -> T:
    """Await `call()` until it does not raise `Unavailable`, and return what it returns; other errors pass through.

    `server` is the one that is missed, unless the error names another.
    """
    started, waiter = time.monotonic(), object()
    missed: set[str] = set()

    async def attempt_once() -> T:
        try:
            return await call()
        except asyncio.CancelledError as error:
            if is_asked_for():
                raise
            raise Unavailable(f"{server}: its client cancelled the call by itself") from error

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Unavailable):
            lost = error.server or server
            missed.add(lost)
            say_lost(lost, waiter, error, started)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S),
        before_sleep=say,
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                result = await attempt_once()
        for lost in missed:
            say_back(lost, waiter)
    finally:
        for lost in missed:
            stop_waiting(lost, waiter)
    return result

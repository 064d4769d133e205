"""Try the same again while a server is away: capped, jittered back-off, a log line when it goes and when it is back.

Only `Unavailable` is tried again, for as long as it takes: such an outage is never answered to a sender. What bounds
the waiting work is the pipeline, which takes no more from Kafka meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from worker.errors import Unavailable

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def until_available(server: str, call: Callable[[], Awaitable[T]]) -> T:
    """Await `call()` until it does not raise `Unavailable`, and return what it returns; other errors pass through."""
    started = time.monotonic()

    def say(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            log.warning("server_lost", server=server, error=str(state.outcome.exception()))

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S),
        before_sleep=say,
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            result = await call()
    if retrying.statistics["attempt_number"] > 1:
        log.info("server_back", server=server, outage_s=round(time.monotonic() - started, 3))
    return result

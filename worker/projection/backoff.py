"""Waiting for a server that is away: capped, jittered, one line in the log when it is lost and one when it is back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import structlog

from worker.errors import Unavailable
from worker.outages import say_back, say_lost

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0

log = structlog.get_logger(__name__)
Result = TypeVar("Result")


class Backoff:
    """How long to wait next, and for what; `trouble` is None while all is well."""

    def __init__(self) -> None:
        self.trouble: Unavailable | None = None
        self._failures = 0
        self._waits_for: set[str | None] = set()

    async def wait_out(self, error: Unavailable, stop: asyncio.Event) -> None:
        """Wait because of `error`: about twice as long each time, never in step with others, and not beyond `stop`."""
        if error.server is not None:
            say_lost(error.server, self, error)
        elif None not in self._waits_for:
            log.warning("projection_waits", reason=str(error))
        self._waits_for.add(error.server)
        self.trouble = error
        pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await unless(stop, asyncio.sleep(pause_s * random.uniform(0.5, 1)))  # noqa: S311 -- no secret: it spreads load

    def back(self) -> None:
        """All is well again: the next wait is a short one."""
        for server in self._waits_for:
            if server is None:
                log.info("projection_goes_on", after=str(self.trouble))
            else:
                say_back(server, self)
        self._waits_for.clear()
        self.trouble = None
        self._failures = 0


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`; None, with `work` cancelled, if `stop` was set first."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()


async def to_the_end(work: Awaitable[Result]) -> Result:
    """The result of `work`, which is not cut short: whoever is cancelled meanwhile is so once it is done."""
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait({working})

"""The way of every append: wait (a fault), write, become durable, answer; and the places where a fault strikes.

An append is a function of the writer. Its outcome is what that returned, or Lost: timed out or cut. Two copies of an
append in flight at once: the second is never answered by the real server, and times out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, TypeVar

from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.writer import Progress, Writer

# The real server's commit time-out: it was seen to take 2 to 3 s.
COMMIT_TIMEOUT_S = 2.0


class Lost(Enum):
    """How an append ends without its result."""

    TIMEOUT = auto()
    CUT = auto()  # the connection breaks


class Result(Protocol):
    """What a write may return: it says what is still to come."""

    @property
    def progress(self) -> Progress: ...


R = TypeVar("R", bound=Result)


class Appends:
    """Runs appends against one writer, under the faults of the moment."""

    def __init__(self, writer: Writer, faults: Faults) -> None:
        self._writer = writer
        self._faults = faults
        self._loop = asyncio.get_running_loop()

    async def run(self, write: Callable[[Writer], R]) -> R | Lost:
        """Run one append and wait for its outcome."""
        outcome: asyncio.Future[R | Lost] = self._loop.create_future()
        self.submit(write, lambda found: None if outcome.done() else outcome.set_result(found))
        return await outcome

    def submit(self, write: Callable[[Writer], R], done: Callable[[R | Lost], None]) -> None:
        """Run one append; `done` gets its outcome, once. Appends submitted in a row reach the writer in that order."""
        delay_s = self._faults.append_delay_s()
        if delay_s:
            self._loop.call_later(delay_s, self._submit_now, write, done)
        else:
            self._submit_now(write, done)

    def _submit_now(self, write: Callable[[Writer], R], done: Callable[[R | Lost], None]) -> None:
        faults = self._faults
        if faults.strikes(faults.drop_before_commit_every):
            done(Lost.CUT)
        elif faults.strikes(faults.timeout_before_write_every):
            self._loop.call_later(faults.timeout_ms / 1000, done, Lost.TIMEOUT)
        else:
            self._answer(write(self._writer), done)

    def _answer(self, result: R, done: Callable[[R | Lost], None]) -> None:
        faults = self._faults
        if result.progress is Progress.SETTLED:
            done(result)
        elif result.progress is Progress.IN_FLIGHT:
            self._loop.call_later(COMMIT_TIMEOUT_S, done, Lost.TIMEOUT)
        elif faults.strikes(faults.drop_after_commit_every):
            self._writer.store.when_durable(lambda: done(Lost.CUT))
        elif faults.strikes(faults.timeout_after_write_every):
            self._loop.call_later(faults.timeout_ms / 1000, done, Lost.TIMEOUT)
        else:
            self._writer.store.when_durable(lambda: done(result))

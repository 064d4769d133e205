"""An event loop whose time passes only when it is told to, and that asks what to do when nothing is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

Ready = list[tuple[selectors.SelectorKey, int]]
Select = Callable[[float | None], Ready]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Timers run by `now`, in seconds, which `advance` sets.

    `idle` is called whenever no callback is ready to run. It waits for a server by `select`, or makes something ready.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.idle: Callable[[Select], Ready] = lambda select: select(None)
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The loop's time."""
        return self.now

    def has_timer(self) -> bool:
        """Whether anything waits for its time."""
        return any(not timer.cancelled() for timer in self._scheduled)

    def drop_timers(self) -> None:
        """Let nobody be woken any more who waits for a time."""
        for timer in list(self._scheduled):
            timer.cancel()

    def advance(self) -> None:
        """Let the time pass up to the next timer."""
        self.now = max(self.now, min(timer.when() for timer in self._scheduled if not timer.cancelled()))


class _Selector(selectors.EpollSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Ready:
        found = super().select(0)
        if found or timeout == 0:
            return found
        return self._loop.idle(super().select)

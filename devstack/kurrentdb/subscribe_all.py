"""Catch-up subscriptions of `$all`: everything after a place, then what comes, for as long as the client listens.

While catching up events come in pages; a filtered subscription gets a checkpoint at the end of a page once enough
events were looked at, and one at the end of the log. There every subscription gets `caughtUp`, and is live from then
on. More than LIVE_BUFFER messages waiting at once overrun a live subscription: silently it catches up again, and says
`caughtUp` again. That is the real server's way; it never says `fellBehind`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from devstack.kurrentdb import errors, render
from devstack.kurrentdb.filters import read_filter
from devstack.kurrentdb.store import Store

PAGE_EVENTS = 32
LIVE_BUFFER = 32


async def subscribe_to_all(store: Store, renderer: render.Renderer, options: Any) -> AsyncIterator[list[bytes]]:
    """A subscription after a position, from the start, or from the end; all its messages, in pages."""
    subscription = AllSubscription(store, renderer, options)
    yield [render.confirmation()]
    if options.all.HasField("position") and not store.index.is_boundary(options.all.position.commit_position):
        raise errors.invalid("Trying to read from an invalid position.")
    async for page in subscription.pages():
        yield page


class AllSubscription:
    """How far a subscription has come, and the messages that take it on.

    A start beyond the end of the log is taken in silence: what is written up to there is passed over.
    """

    def __init__(self, store: Store, renderer: render.Renderer, options: Any) -> None:
        self._store = store
        self._index = store.index
        self._renderer = renderer
        self._wants = read_filter(store.index, options).wants
        self._is_filtered = options.WhichOneof("filter_option") == "filter"
        self._page_considered = PAGE_EVENTS
        if self._is_filtered:
            self._page_considered = options.filter.max if options.filter.WhichOneof("window") == "max" else PAGE_EVENTS
        self._interval = self._page_considered * options.filter.checkpointIntervalMultiplier
        if self._is_filtered and not self._interval:
            raise errors.unhandled()
        self._position = self._start(options.all)  # of the last event looked at
        self._considered = 0  # events looked at since the last checkpoint
        self._checkpointed = -1
        self._is_first_page = True

    def _start(self, options: Any) -> int:
        if options.WhichOneof("all_option") == "end" and self._index.committed:
            return self._index.positions[self._index.committed - 1]
        return int(options.position.commit_position)  # 0 for the start

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """All messages after the confirmation."""
        while True:
            while self._next() < self._index.committed:
                yield self._catch_up()
                await asyncio.sleep(0)  # other calls have their turn between two pages
            seen = self._index.committed
            self._considered = 0
            batch: list[bytes] | None = [render.caught_up_all(self._position)]
            while batch is not None:
                yield batch
                seen = await self._store.more_than(seen)
                batch = self._live()

    def _next(self) -> int:
        """The next ordinal to look at."""
        return min(self._index.ordinal_after(self._position), self._index.committed)

    def _catch_up(self) -> list[bytes]:
        """One page towards the end of the log, with the checkpoint that may be due.

        The checkpoint is the last event sent, or where the page began: with nothing sent, resuming there loses nothing.
        """
        page_start = (self._position,) * 2 if self._is_first_page else (self._index.positions[self._next()], 0)
        self._is_first_page = False
        ordinals = self._look_at_page()
        messages = self._renderer.render(ordinals)
        commit, prepare = (self._index.positions[ordinals[-1]],) * 2 if ordinals else page_start
        is_due = self._considered >= self._interval or self._next() >= self._index.committed
        if self._is_filtered and is_due and commit > self._checkpointed:
            self._considered = 0
            self._checkpointed = commit
            messages.append(render.checkpoint(commit, prepare))
        return messages

    def _look_at_page(self) -> list[int]:
        """Move over one page; return the wanted ordinals of it."""
        ordinals: list[int] = []
        considered = 0
        at, end = self._next(), self._index.committed
        while at < end and considered < self._page_considered and len(ordinals) < PAGE_EVENTS:
            wanted = self._wants(at)
            considered += wanted is not None
            if wanted:
                ordinals.append(at)
            at += 1
        self._considered += considered
        self._position = self._index.positions[at - 1]
        return ordinals

    def _live(self) -> list[bytes] | None:
        """The messages of everything new, checkpoints at their places; None: too many at once."""
        messages: list[bytes] = []
        ordinals: list[int] = []
        considered = self._considered
        first, end = self._next(), self._index.committed
        for at in range(first, end):
            wanted = self._wants(at)
            considered += wanted is not None
            if wanted:
                ordinals.append(at)
            if self._is_filtered and considered >= self._interval:
                considered = 0
                place = self._index.positions[at]
                messages += [*self._renderer.render(ordinals), render.checkpoint(place, place)]
                ordinals = []
            if len(messages) + len(ordinals) > LIVE_BUFFER:
                return None
        if end > first:
            self._considered = considered
            self._position = self._index.positions[end - 1]
        return messages + self._renderer.render(ordinals)

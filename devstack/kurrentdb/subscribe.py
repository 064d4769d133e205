"""Catch-up subscriptions: everything after a place, then what comes, for as long as the client listens.

While catching up events come in pages; a filtered subscription of `$all` gets a checkpoint at the end of a page once enough
events were looked at. At the end of the log it gets a checkpoint, and every subscription `caughtUp`; from then on it is
live. More than LIVE_BUFFER messages waiting at once overrun a live subscription: silently it catches up again, and says
`caughtUp` again. That is the real server's way; it never says `fellBehind`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from devstack.kurrentdb import errors, render
from devstack.kurrentdb.filters import Filter, read_filter
from devstack.kurrentdb.proposals import stream_name
from devstack.kurrentdb.store import Store

PAGE_EVENTS = 32
LIVE_BUFFER = 32


class AllSubscription:
    """A subscription of `$all`, filtered or not: where it stands, and the messages to take it on."""

    def __init__(self, store: Store, renderer: render.Renderer, wanted: Filter, options: Any) -> None:
        self._store = store
        self._renderer = renderer
        self._wanted = wanted
        self._is_filtered = options.WhichOneof("filter_option") == "filter"
        self._window = options.filter.max or PAGE_EVENTS
        self._interval = self._window * options.filter.checkpointIntervalMultiplier
        index = store.index
        start = options.all.WhichOneof("all_option")
        # The last event looked at, and the next one.
        if start == "position":
            self._position = options.all.position.commit_position
            self._next = min(index.ordinal_after(self._position), index.committed)
        else:
            self._next = index.committed if start == "end" else 0
            self._position = index.positions[self._next - 1] if self._next else 0
        self._considered = 0  # since the last checkpoint
        self._has_read = False
        self._checkpointed = -1

    def catch_up(self) -> list[bytes]:
        """One page towards the end of the log, with the checkpoint that may be due."""
        page_start = self._position, self._position
        page_first = self._next
        ordinals = self._look_at_page()
        if self._has_read:
            page_start = self._store.index.positions[page_first], 0
        self._has_read = True
        messages = self._renderer.render(ordinals)
        if not self._is_filtered:
            return messages
        place = (self._store.index.positions[ordinals[-1]],) * 2 if ordinals else page_start
        is_at_end = self._next >= self._store.index.committed
        if (self._considered >= self._interval or is_at_end) and place[0] > self._checkpointed:
            self._considered = 0
            self._checkpointed = place[0]
            messages.append(render.checkpoint(*place))
        return messages

    def _look_at_page(self) -> list[int]:
        """Move over one page; return the wanted ordinals of it."""
        index, wants = self._store.index, self._wanted.wants
        ordinals: list[int] = []
        looked_at = 0
        at, end = self._first_wanted(), index.committed
        limit = self._window if self._is_filtered else PAGE_EVENTS
        while at < end and looked_at < limit and len(ordinals) < PAGE_EVENTS:
            wanted = wants(at)
            looked_at += wanted is not None
            if wanted:
                ordinals.append(at)
            at += 1
        self._considered += looked_at
        self._move_to(at)
        return ordinals

    def _first_wanted(self) -> int:
        """The next ordinal to look at: what comes before a start beyond the end of the log is passed over in silence."""
        return max(self._next, self._store.index.ordinal_after(self._position))

    def _move_to(self, ordinal: int) -> None:
        self._next = max(self._next, ordinal)
        if self._next:
            self._position = max(self._position, self._store.index.positions[self._next - 1])

    def live(self) -> list[bytes] | None:
        """The messages of everything new, checkpoints at their places; None: too many at once."""
        index, wants = self._store.index, self._wanted.wants
        messages: list[bytes] = []
        ordinals: list[int] = []
        considered = self._considered
        for at in range(self._first_wanted(), index.committed):
            wanted = wants(at)
            considered += wanted is not None
            if wanted:
                ordinals.append(at)
            if self._is_filtered and wanted is not None and considered >= self._interval:
                considered = 0
                place = index.positions[at]
                messages += [*self._renderer.render(ordinals), render.checkpoint(place, place)]
                ordinals = []
            if len(messages) + len(ordinals) > LIVE_BUFFER:
                return None
        self._considered = considered
        self._move_to(index.committed)
        return messages + self._renderer.render(ordinals)

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """All messages after the confirmation."""
        while True:
            while self._next < self._store.index.committed:
                yield self.catch_up()
                await asyncio.sleep(0)  # other calls have their turn between two pages
            yield [render.caught_up_all(self._position)]
            self._considered = 0
            batch: list[bytes] | None = []
            while batch is not None:
                yield batch
                await _more(self._store, self._next)
                batch = self.live()


async def _more(store: Store, seen: int) -> None:
    """Wait until an ordinal past `seen` is readable."""
    while store.index.committed <= seen:
        await store.changed().wait()


async def subscribe_to_all(store: Store, renderer: render.Renderer, options: Any) -> AsyncIterator[list[bytes]]:
    """A subscription of `$all` after a position, from the start, or from the end."""
    wanted = read_filter(store.index, options)
    if options.WhichOneof("filter_option") == "filter":
        has_window = options.filter.WhichOneof("window") != "max" or options.filter.max
        if not has_window or not options.filter.checkpointIntervalMultiplier:
            raise errors.unhandled()
    subscription = AllSubscription(store, renderer, wanted, options)
    yield [render.confirmation()]
    if options.all.HasField("position") and not store.index.is_boundary(options.all.position.commit_position):
        raise errors.invalid("Trying to read from an invalid position.")
    async for page in subscription.pages():
        yield page


async def subscribe_to_stream(store: Store, renderer: render.Renderer, options: Any) -> AsyncIterator[list[bytes]]:
    """A subscription of a stream after a revision, from the start, or from the end; it need not exist yet."""
    index = store.index
    name = stream_name(options.stream.stream_identifier)
    if index.is_tombstoned(name):
        raise errors.stream_deleted(name)
    yield [render.confirmation()]
    stream = index.find(name)
    start = options.stream.WhichOneof("revision_option")
    last = index.last_revision(stream) if stream else -1
    seen = {"start": -1, "end": last}.get(start, options.stream.revision)
    is_live = False
    while True:
        committed = index.committed
        stream = index.find(name)
        upto = index.last_revision(stream) if stream else -1
        if is_live and upto - seen > LIVE_BUFFER:
            is_live = False
        while stream is not None and seen < upto:
            first = max(seen + 1, index.first_revision(stream))
            seen = min(max(first + PAGE_EVENTS - 1, seen), upto)
            yield renderer.render(stream.ordinals[first : seen + 1])
            await asyncio.sleep(0)
        if index.is_tombstoned(name):
            if stream is not None and 0 <= stream.tombstone < index.committed:
                yield renderer.render([stream.tombstone])
            raise errors.stream_deleted(name)
        if not is_live:
            is_live = True
            yield [render.caught_up_stream(seen)]
        await _more(store, committed)

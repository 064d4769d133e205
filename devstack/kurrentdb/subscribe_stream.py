"""Catch-up subscriptions of one stream: everything after a revision, then what comes; no checkpoints.

At the end of the stream `caughtUp` is sent, and again after a live subscription was overrun (see `subscribe_all`). The
stream need not exist yet. A stream ended for ever ends its subscriptions, after the event that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from devstack.kurrentdb import errors, render
from devstack.kurrentdb.proposals import stream_name
from devstack.kurrentdb.store import Store
from devstack.kurrentdb.subscribe_all import LIVE_BUFFER, PAGE_EVENTS


async def subscribe_to_stream(store: Store, renderer: render.Renderer, options: Any) -> AsyncIterator[list[bytes]]:
    """A subscription after a revision, from the start, or from the end; all its messages, in pages."""
    name = stream_name(options.stream.stream_identifier)
    if store.index.is_tombstoned(name):
        raise errors.stream_deleted(name)
    yield [render.confirmation()]
    async for page in StreamSubscription(store, renderer, name, options.stream).pages():
        yield page


class StreamSubscription:
    """How far a subscription has come, and the messages that take it on."""

    def __init__(self, store: Store, renderer: render.Renderer, name: str, options: Any) -> None:
        self._store = store
        self._index = store.index
        self._renderer = renderer
        self._name = name
        start = options.WhichOneof("revision_option")
        self._seen = {"start": -1, "end": self._last()}.get(start, options.revision)  # the last revision sent

    def _last(self) -> int:
        stream = self._index.find(self._name)
        return self._index.last_revision(stream) if stream else -1

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """All messages after the confirmation."""
        is_live = False
        while True:
            committed = self._index.committed
            is_live = is_live and self._last() - self._seen <= LIVE_BUFFER
            while self._seen < self._last():
                yield self._page()
                await asyncio.sleep(0)  # other calls have their turn between two pages
            if self._index.is_tombstoned(self._name):
                yield self._renderer.render(self._tombstone())
                raise errors.stream_deleted(self._name)
            if not is_live:
                is_live = True
                yield [render.caught_up_stream(self._seen)]
            await self._store.more_than(committed)

    def _page(self) -> list[bytes]:
        """The next page, without what the stream's metadata hides."""
        stream = self._index.streams[self._name]
        first = max(self._seen + 1, self._index.first_revision(stream))
        self._seen = min(first + PAGE_EVENTS - 1, self._last())
        return self._renderer.render(stream.ordinals[first : self._seen + 1])

    def _tombstone(self) -> list[int]:
        """The ordinal of the event that ended this very stream, if it did (and not the one that it describes)."""
        stream = self._index.find(self._name)
        return [stream.tombstone] if stream is not None and stream.tombstone >= 0 else []

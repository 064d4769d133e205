"""KurrentDB's streams of single wallets, for a close look: a stretch of revisions, or the last event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

import esdbclient
from esdbclient import AsyncEventStoreDBClient
from esdbclient.exceptions import NotFound, StreamIsDeleted

from worker.contracts.events import stream_name
from worker.outbox.connection import kurrentdb_errors, uri_errors
from worker.projection.document import RecordedEvent

READ_TIMEOUT_S = 30.0

# What a stream's metadata hides of it: "truncate before" (a deletion sets it too), the number or age of its events.
_HIDING = frozenset({"$tb", "$maxCount", "$maxAge"})


class Standing(NamedTuple):
    """The revision of a stream's last event, -1 where there is none to be read; and whether some may be hidden.

    Hidden: the stream was deleted for ever or for the time being, or its metadata cuts it off.
    """

    revision: int
    is_cut: bool


class Streams:
    """The wallets' streams of one KurrentDB; `connect` makes it. Several reads may run at once."""

    def __init__(self, client: AsyncEventStoreDBClient) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connect(cls, uri: str) -> AsyncIterator[Self]:
        """Connect to the node that `uri` names; `Unavailable` if it does not answer, `Fatal` if it refuses us."""
        with uri_errors():
            client = AsyncEventStoreDBClient(uri)
        try:
            with kurrentdb_errors():
                await client.connect()
            yield cls(client)
        finally:
            await client.close()

    async def read(self, wallet_id: str, first: int, limit: int) -> list[RecordedEvent]:
        """At most `limit` events from the revision `first` on; none where there is no such stream (any more)."""
        return await self._read(wallet_id, first, limit)

    async def last(self, wallet_id: str) -> RecordedEvent | None:
        """The newest event of a wallet."""
        events = await self._read(wallet_id, None, 1)
        return events[0] if events else None

    async def standing(self, wallet_id: str) -> Standing:
        """Where the wallet's stream ends."""
        last = await self.last(wallet_id)
        with kurrentdb_errors():
            try:
                metadata, _ = await self._client.get_stream_metadata(stream_name(wallet_id), timeout=READ_TIMEOUT_S)
            except StreamIsDeleted:
                return Standing(-1, is_cut=True)
        return Standing(last.revision if last else -1, is_cut=not _HIDING.isdisjoint(metadata))

    async def _read(self, wallet_id: str, first: int | None, limit: int) -> list[RecordedEvent]:
        """From `first` on, or backwards from the end where it is None."""
        with kurrentdb_errors():
            try:
                events = await self._client.get_stream(
                    stream_name(wallet_id),
                    stream_position=first,
                    backwards=first is None,
                    limit=limit,
                    timeout=READ_TIMEOUT_S,
                )
            except (NotFound, StreamIsDeleted):
                return []
        return [_recorded(event) for event in events]


def _recorded(event: esdbclient.RecordedEvent) -> RecordedEvent:
    return RecordedEvent(
        str(event.id),
        event.type,
        event.stream_name,
        event.stream_position,
        event.commit_position or 0,
        event.data,
        event.metadata,
    )

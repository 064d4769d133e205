"""KurrentDB's streams of single wallets, for a close look: a stretch of revisions, or the last event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import esdbclient
from esdbclient import AsyncEventStoreDBClient
from esdbclient.exceptions import NotFound, StreamIsDeleted

from worker.audit.fields import write_json
from worker.contracts.events import stream_name
from worker.outbox.connection import kurrentdb_errors, uri_errors
from worker.projection.document import RecordedEvent

READ_TIMEOUT_S = 30.0

_TRUNCATE_BEFORE = "$tb"
_SOFT_DELETED = 2**63 - 1
# What a stream's metadata hides of it: "truncate before" (a deletion sets it too), the number or age of its events.
_HIDING = (_TRUNCATE_BEFORE, "$maxCount", "$maxAge")

TOMBSTONE = "deleted for ever (a tombstone): its events come back from a backup alone"


class Standing(NamedTuple):
    """The revision of a stream's last event, -1 where there is none to be read; and what hides some of them, if any.

    Hidden: the stream was deleted for ever or for the time being, or its metadata cuts it off.
    """

    revision: int
    hidden_by: str | None = None

    @property
    def is_cut(self) -> bool:
        """Whether some may be hidden."""
        return self.hidden_by is not None


def hidden_by(metadata: Mapping[str, Any]) -> str | None:
    """What in a stream's metadata hides events, now or as more come, and how to undo it; None where nothing does.

    What is hidden is gone for good with the next scavenge.
    """
    hiding = {name: metadata[name] for name in _HIDING if metadata.get(name)}
    if not hiding:
        return None
    shown = write_json(hiding).decode()
    if hiding.get(_TRUNCATE_BEFORE) == _SOFT_DELETED:
        return (
            f'{shown}: deleted; before the next scavenge set its metadata to {{"$tb": 0}}, twice: the first is undone'
        )
    return f'{shown}: before the next scavenge take that out of its metadata (or set {{"$tb": 0}})'


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
                return Standing(-1, TOMBSTONE)
        return Standing(last.revision if last else -1, hidden_by(metadata))

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

"""KurrentDB as the worker sees it: runs of events go in at exact revisions, or the server says where streams stand.

One `AppendRecords` call carries many runs, all or none (servers from 26.1 on). A server without that call is found out
once, at the first UNIMPLEMENTED, and gets one `append_to_stream` for each run instead, some dozens at once.

Every call is safe to repeat: exact revisions and fixed event ids make the second one a success without effect. So
whatever does not say plainly "written" or "stands elsewhere" is `Unavailable`: unknown, send the same again. That
includes "Server Is Not Ready", which comes with error code 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import grpc
import orjson
import structlog
from esdbclient import AsyncEventStoreDBClient, RecordedEvent, StreamState
from esdbclient import NewEvent as EsdbEvent
from esdbclient.exceptions import EventStoreDBClientException, NotFound, StreamIsDeleted, WrongCurrentVersion

from worker.contracts.events import stream_name
from worker.errors import Unavailable
from worker.outbox.append_records import APPEND_BYTES_MAX, CHANNEL_OPTIONS, AppendRecords
from worker.outbox.run import Run

CALL_TIMEOUT_S = 10.0
APPENDS_AT_ONCE = 32
NO_STREAM = -1
DELETED = -5
TOMBSTONED = -6
TRUNCATED_BEFORE = "$tb"
"""What stands in the metadata of a deleted stream."""

_FAILURES = (EventStoreDBClientException, grpc.RpcError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append came to: the runs that were not written, and where the streams of the refused ones stand.

    `revisions` maps wallet ids to revisions (-1: no stream; -5, -6: deleted). Where runs go in all or none, runs that
    were not refused stand in `unwritten` too. Where they go one by one, nothing is known of those in `unknown`.
    """

    unwritten: Sequence[Run] = ()
    revisions: dict[str, int] = field(default_factory=dict)
    unknown: Sequence[Run] = ()


class EventStore:
    """The process's connection for appends. Calls are to be made one after another: two at once are not ordered."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: AsyncEventStoreDBClient | None = None
        self._append_records: AppendRecords | None = None
        self._has_append_records = True

    async def append(self, runs: Sequence[Run]) -> Appended:
        """Append `runs`, each at its exact revision; raise `Unavailable` where the outcome is unknown."""
        try:
            return await self._append(await self._connected(), runs)
        except _FAILURES as error:
            # The next attempt looks for the leader anew: it may have moved.
            await self.close()
            raise Unavailable(f"KurrentDB: {type(error).__name__}: {_text(error)}") from error

    async def is_ready(self) -> None:
        """Ask the server for something small; raise `Unavailable` where it does not answer."""
        try:
            client = await self._connected()
            await client.get_current_version(stream_name("readiness"), timeout=CALL_TIMEOUT_S)
        except _FAILURES as error:
            raise Unavailable(f"KurrentDB: {type(error).__name__}: {_text(error)}") from error

    async def close(self) -> None:
        """End the connection; the next call opens another."""
        client, self._client = self._client, None
        channel, self._append_records = self._append_records, None
        if channel is not None:
            await channel.close()
        if client is not None:
            await client.close()

    async def _connected(self) -> AsyncEventStoreDBClient:
        if self._client is None:
            client = AsyncEventStoreDBClient(self._uri)
            client.grpc_options += CHANNEL_OPTIONS
            await client.connect()
            self._client = client
        return self._client

    async def _append(self, client: AsyncEventStoreDBClient, runs: Sequence[Run]) -> Appended:
        if self._has_append_records:
            self._append_records = self._append_records or AppendRecords(client)
            try:
                revisions = await self._append_records(runs, timeout_s=CALL_TIMEOUT_S)
            except NotImplementedError:
                self._has_append_records = False
                log.warning("append_records_missing", means="one append for each stream: slower, as safe")
            else:
                return Appended(runs, revisions) if revisions else Appended()
        return await self._append_each(client, runs)

    async def _append_each(self, client: AsyncEventStoreDBClient, runs: Sequence[Run]) -> Appended:
        at_once = asyncio.Semaphore(APPENDS_AT_ONCE)

        async def append(run: Run) -> int | Exception | None:
            async with at_once:
                return await _append_or_lose(client, run)

        outcomes = list(zip(runs, await asyncio.gather(*map(append, runs)), strict=True))
        errors = [outcome for _, outcome in outcomes if isinstance(outcome, Exception)]
        if errors and len(errors) == len(runs):
            raise errors[0]
        # What was written stays so: of hundreds of appends one may always be lost.
        revisions = {run.wallet_id: outcome for run, outcome in outcomes if isinstance(outcome, int)}
        return Appended(
            [run for run in runs if run.wallet_id in revisions],
            revisions,
            [run for run, outcome in outcomes if isinstance(outcome, Exception)],
        )


async def _append_or_lose(client: AsyncEventStoreDBClient, run: Run) -> int | Exception | None:
    """Append one run; return the error where its outcome is unknown."""
    try:
        return await _append_run(client, run)
    except (*_FAILURES, Unavailable) as error:
        return error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Not ours: another call renewed the client's connection, which cancels those that are on their way.
        return Unavailable(f"KurrentDB: the append to {stream_name(run.wallet_id)} was cut")


async def _append_run(client: AsyncEventStoreDBClient, run: Run) -> int | None:
    """Append one run, a large one in several calls; None where it is written, else where the stream stands."""
    for piece, _ in run.pieces(APPEND_BYTES_MAX):
        revision = await _append_to_stream(client, piece)
        if revision is not None:
            return revision
    return None


async def _append_to_stream(client: AsyncEventStoreDBClient, run: Run) -> int | None:
    stream = stream_name(run.wallet_id)
    # A list: the client sends it again by itself, and a generator would be empty by then.
    events = [
        EsdbEvent(type=event.type, data=event.data, metadata=orjson.dumps(event.properties), id=UUID(event.event_id))
        for event in run.events
    ]
    current = StreamState.NO_STREAM if run.first == 0 else run.first - 1
    try:
        await client.append_to_stream(stream, current_version=current, events=events, timeout=CALL_TIMEOUT_S)
    except WrongCurrentVersion:
        return await _current_revision(client, stream)
    except StreamIsDeleted:
        return TOMBSTONED
    return None


async def _current_revision(client: AsyncEventStoreDBClient, stream: str) -> int:
    event = await _last_event(client, stream)
    if event is not None:
        return event.stream_position
    # A deleted stream looks like none, and would go on at its old revision if it were written.
    metadata = await _last_event(client, f"$${stream}")
    return DELETED if metadata is not None and TRUNCATED_BEFORE in orjson.loads(metadata.data) else NO_STREAM


async def _last_event(client: AsyncEventStoreDBClient, stream: str) -> RecordedEvent | None:
    try:
        events = await client.get_stream(stream, backwards=True, limit=1, timeout=CALL_TIMEOUT_S)
    except NotFound:
        return None
    if not events:
        # The client ends a read as if that were all when another of its calls renews the connection.
        raise Unavailable(f"KurrentDB: the read of {stream} was cut")
    return events[0]


def _text(error: BaseException) -> str:
    # grpc's own text is a page that names the peer and the time: one line of it is enough.
    return str(error.details()) if isinstance(error, grpc.aio.AioRpcError) else str(error).strip().split("\n")[0]

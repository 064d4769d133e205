"""KurrentDB's append to one stream, for servers without `AppendRecords`, over the messages that `esdbclient` carries.

The answer to a refusal says where the stream stands, so nothing has to be read. A deleted stream stands where it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

import grpc
import orjson
from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from worker.cancellation import is_asked_for
from worker.contracts.events import stream_name
from worker.ledger.entry import NewEvent
from worker.outbox.connection import Connection
from worker.outbox.run import Run

METHOD = "/event_store.client.streams.Streams/Append"
STREAM_APPEND_BYTES_MAX = 512 * 1024
"""As `Run.pieces` counts: half of the mebibyte that servers up to 25.0 take."""
NO_STREAM = -1
TOMBSTONED = -6


NOWHERE = 2**62
"""A revision that no stream reaches: an append that expects it is refused, and the answer says where the stream is."""


class Accepted(NamedTuple):
    """A server accepted events: the revision of the last one."""

    last: int


class Misplaced(NamedTuple):
    """A server accepted events, and their last one has another revision than was meant."""

    revision: int


class AppendToStream:
    """The call, on `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._metadata, self._credentials = connection.metadata, connection.credentials
        self._call = connection.channel.stream_unary(
            METHOD,
            request_serializer=streams_pb2.AppendReq.SerializeToString,
            response_deserializer=streams_pb2.AppendResp.FromString,
        )

    async def __call__(self, run: Run, *, timeout_s: float) -> int | Misplaced | None:
        """Append one run, a large one in several calls: None where it is written, else where the stream stands.

        Raises `grpc.aio.AioRpcError`, and `ConnectionAbortedError` where gRPC gave up by itself.
        """
        for piece, _ in run.pieces(STREAM_APPEND_BYTES_MAX):
            revision = await self._append(_requests(piece), timeout_s)
            if isinstance(revision, int):
                return revision
            if revision.last != piece.last:
                return Misplaced(revision.last)
        return None

    async def locate(self, wallet_id: str, *, timeout_s: float) -> int:
        """Where a wallet's stream stands; raises as a call does. Nothing is written: the append expects `NOWHERE`."""
        options = _options(wallet_id)
        options.revision = NOWHERE
        event = NewEvent(wallet_id, NOWHERE + 1, str(uuid4()), "Located", b"{}", {})
        revision = await self._append(iter([streams_pb2.AppendReq(options=options), _message(event)]), timeout_s)
        if not isinstance(revision, int):
            raise ConnectionAbortedError(f"the stream of {wallet_id} accepted an event behind revision {NOWHERE}")
        return revision

    async def _append(self, requests: Iterator[streams_pb2.AppendReq], timeout_s: float) -> int | Accepted:
        """Where the stream stands that refused `requests`, or the revision at which it accepted them."""
        try:
            answer = await self._call(
                requests, timeout=timeout_s, metadata=self._metadata, credentials=self._credentials
            )
        except grpc.aio.AioRpcError as error:
            if ("exception", "stream-deleted") in tuple(error.trailing_metadata() or ()):
                return TOMBSTONED
            raise
        except asyncio.CancelledError as error:
            if is_asked_for():
                raise
            raise ConnectionAbortedError("the call ended while its request was being sent") from error
        if answer.WhichOneof("result") == "success":
            return Accepted(answer.success.current_revision)
        refusal = answer.wrong_expected_version
        known = refusal.WhichOneof("current_revision_option") == "current_revision"
        return refusal.current_revision if known else NO_STREAM


def _requests(run: Run) -> Iterator[streams_pb2.AppendReq]:
    # Not a generator: gRPC would swallow what is raised while it asks for the messages.
    run.check_contiguous()
    return _messages(run)


def _messages(run: Run) -> Iterator[streams_pb2.AppendReq]:
    options = _options(run.wallet_id)
    if run.first == 0:
        options.no_stream.SetInParent()
    else:
        options.revision = run.first - 1
    yield streams_pb2.AppendReq(options=options)
    for event in run.events:
        yield _message(event)


def _options(wallet_id: str) -> streams_pb2.AppendReq.Options:
    return streams_pb2.AppendReq.Options(
        stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream_name(wallet_id).encode())
    )


def _message(event: NewEvent) -> streams_pb2.AppendReq:
    return streams_pb2.AppendReq(
        proposed_message=streams_pb2.AppendReq.ProposedMessage(
            id=shared_pb2.UUID(string=event.event_id),
            metadata={"type": event.type, "content-type": "application/json"},
            custom_metadata=orjson.dumps(event.properties),
            data=event.data,
        )
    )

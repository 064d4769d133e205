"""KurrentDB's append to one stream, for servers without `AppendRecords`, over the messages that `esdbclient` carries.

The answer to a refusal says where the stream stands, so nothing has to be read. A deleted stream stands where it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import orjson
from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from worker.cancellation import is_asked_for
from worker.contracts.events import stream_name
from worker.outbox.connection import Connection
from worker.outbox.run import Run

METHOD = "/event_store.client.streams.Streams/Append"
STREAM_APPEND_BYTES_MAX = 512 * 1024
"""As `Run.pieces` counts: half of the mebibyte that servers up to 25.0 take."""
NO_STREAM = -1
TOMBSTONED = -6


class AppendToStream:
    """The call, on `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._metadata, self._credentials = connection.metadata, connection.credentials
        self._call = connection.channel.stream_unary(
            METHOD,
            request_serializer=streams_pb2.AppendReq.SerializeToString,
            response_deserializer=streams_pb2.AppendResp.FromString,
        )

    async def __call__(self, run: Run, *, timeout_s: float) -> int | None:
        """Append one run, a large one in several calls: None where it is written, else where the stream stands.

        Raises `grpc.aio.AioRpcError`, and `ConnectionAbortedError` where gRPC gave up by itself.
        """
        for piece, _ in run.pieces(STREAM_APPEND_BYTES_MAX):
            revision = await self._append(piece, timeout_s)
            if revision is not None:
                return revision
        return None

    async def _append(self, run: Run, timeout_s: float) -> int | None:
        try:
            answer = await self._call(
                _requests(run), timeout=timeout_s, metadata=self._metadata, credentials=self._credentials
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
            return None
        refusal = answer.wrong_expected_version
        known = refusal.WhichOneof("current_revision_option") == "current_revision"
        return refusal.current_revision if known else NO_STREAM


def _requests(run: Run) -> Iterator[streams_pb2.AppendReq]:
    # Not a generator: gRPC would swallow what is raised while it asks for the messages.
    run.check_contiguous()
    return _messages(run)


def _messages(run: Run) -> Iterator[streams_pb2.AppendReq]:
    options = streams_pb2.AppendReq.Options(
        stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream_name(run.wallet_id).encode())
    )
    if run.first == 0:
        options.no_stream.SetInParent()
    else:
        options.revision = run.first - 1
    yield streams_pb2.AppendReq(options=options)
    for event in run.events:
        message = streams_pb2.AppendReq.ProposedMessage(
            id=shared_pb2.UUID(string=event.event_id),
            metadata={"type": event.type, "content-type": "application/json"},
            custom_metadata=orjson.dumps(event.properties),
            data=event.data,
        )
        yield streams_pb2.AppendReq(proposed_message=message)

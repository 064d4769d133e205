"""KurrentDB's `AppendRecords` call: events for many streams in one append, all or none, each stream checked.

Marked unstable upstream, in every server since 26.1.0; the messages are `protos/streams_v2.proto`. The refusal travels
in the call's trailers and names every stream that stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import grpc

from worker.contracts.events import STREAM_PREFIX
from worker.ledger.entry import NewEvent
from worker.outbox.connection import Connection
from worker.outbox.protos import rpc_status_pb2, streams_v2_errors_pb2, streams_v2_pb2
from worker.outbox.run import Run

METHOD = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords"
STATUS_TRAILER = "grpc-status-details-bin"
APPEND_BYTES_MAX = 8 * 1024 * 1024
"""As `Run.pieces` counts: half of the 16 MiB that the server takes at least."""


class CallMissing(Exception):
    """The server has no `AppendRecords`: it is older than 26.1."""


class AppendRecords:
    """The call, on `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._metadata, self._credentials = connection.metadata, connection.credentials
        self._call = connection.channel.unary_unary(
            METHOD,
            request_serializer=streams_v2_pb2.AppendRecordsRequest.SerializeToString,
            response_deserializer=streams_v2_pb2.AppendRecordsResponse.FromString,
        )

    async def __call__(self, runs: Sequence[Run], *, timeout_s: float) -> dict[str, int]:
        """Append `runs` together, or none of them where a stream stands elsewhere.

        Returns those streams' revisions by wallet id; empty: written. Several calls where they are larger than
        `APPEND_BYTES_MAX`: written then means all of them. Raises `CallMissing` where the server has no such
        call, and `grpc.aio.AioRpcError` for everything else.
        """
        for request in build_requests(runs):
            try:
                await self._call(request, timeout=timeout_s, metadata=self._metadata, credentials=self._credentials)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    raise CallMissing(METHOD) from error
                revisions = _revisions(error)
                if not revisions:
                    raise
                return revisions
        return {}


def build_requests(runs: Sequence[Run]) -> Iterator[streams_v2_pb2.AppendRecordsRequest]:
    """The calls' requests: one, or more where the events come to more than `APPEND_BYTES_MAX`."""
    request, size = streams_v2_pb2.AppendRecordsRequest(), 0
    for piece, piece_size in (found for run in runs for found in run.pieces(APPEND_BYTES_MAX)):
        if size and size + piece_size > APPEND_BYTES_MAX:
            yield request
            request, size = streams_v2_pb2.AppendRecordsRequest(), 0
        _add_run(request, piece)
        size += piece_size
    yield request


def _add_run(request: streams_v2_pb2.AppendRecordsRequest, run: Run) -> None:
    run.check_contiguous()
    stream = STREAM_PREFIX + run.wallet_id
    state = request.checks.add().stream_state
    state.stream = stream
    state.expected_state = run.first - 1
    for event in run.events:
        _add_record(request, stream, event)


def _add_record(request: streams_v2_pb2.AppendRecordsRequest, stream: str, event: NewEvent) -> None:
    record = request.records.add()
    record.record_id = event.event_id
    record.stream = stream
    record.data = event.data
    record.schema.format = streams_v2_pb2.SCHEMA_FORMAT_JSON
    record.schema.name = event.type
    for name, value in event.properties.items():
        record.properties[name].string_value = value


def _revisions(error: grpc.aio.AioRpcError) -> dict[str, int]:
    """Where the streams stand that a refusal names; empty where the error is no such refusal."""
    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
        return {}
    found = next((value for name, value in error.trailing_metadata() or () if name == STATUS_TRAILER), b"")
    status = rpc_status_pb2.Status.FromString(cast(bytes, found))
    violations = streams_v2_errors_pb2.AppendConsistencyViolationErrorDetails()
    for detail in status.details:
        if detail.Unpack(violations):
            return {
                violation.stream_state.stream.removeprefix(STREAM_PREFIX): violation.stream_state.actual_state
                for violation in violations.violations
            }
    return {}

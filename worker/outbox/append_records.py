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
NEVER_WRITTEN = "wallex-never-written"
UNNAMED = -7
"""Of a stream that an answer does not name."""
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

    async def __call__(self, runs: Sequence[Run], *, timeout_s: float) -> tuple[dict[str, int], dict[str, int]]:
        """Append `runs` together, or none of them where a stream stands elsewhere.

        Returns those streams' revisions by wallet id (empty: written), and, once all is written, the revisions of what
        was accepted at another place than was meant. Several calls where they are larger than `APPEND_BYTES_MAX`:
        written then means all of them. Raises `CallMissing` where the server has no such call, and
        `grpc.aio.AioRpcError` for everything else.
        """
        written: dict[str, int] = {}
        for request in build_requests(runs):
            revisions, answer = await self._send(request, timeout_s)
            if revisions:
                return revisions, {}
            written |= {stream.stream: stream.revision for stream in answer.revisions}
        found = ((run, written.get(STREAM_PREFIX + run.wallet_id, UNNAMED)) for run in runs)
        return {}, {run.wallet_id: at for run, at in found if at != run.last}

    async def locate(self, runs: Sequence[Run], *, timeout_s: float) -> dict[str, int]:
        """Where the streams of `runs` stand, by wallet id; raises as a call does.

        A refused append names every stream that is not where a check says. This one is always refused, by a check on
        a stream that is never written, so it asks and does not write.
        """
        request = streams_v2_pb2.AppendRecordsRequest()
        _add_check(request, NEVER_WRITTEN, 0)
        for run in runs:
            _add_check(request, STREAM_PREFIX + run.wallet_id, run.first)
        _add_record(request, NEVER_WRITTEN, runs[0].events[0])
        revisions, _ = await self._send(request, timeout_s)
        if not revisions:
            raise ConnectionAbortedError(f"the stream {NEVER_WRITTEN} was written: nothing may append to it")
        return {run.wallet_id: revisions.get(run.wallet_id, run.first) for run in runs}

    async def _send(
        self, request: streams_v2_pb2.AppendRecordsRequest, timeout_s: float
    ) -> tuple[dict[str, int], streams_v2_pb2.AppendRecordsResponse]:
        """Where the streams stand that a refusal names (empty: accepted), and the answer."""
        try:
            answer = await self._call(
                request, timeout=timeout_s, metadata=self._metadata, credentials=self._credentials
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise CallMissing(METHOD) from error
            revisions = _revisions(error)
            if not revisions:
                raise
            return revisions, streams_v2_pb2.AppendRecordsResponse()
        return {}, answer


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
    _add_check(request, stream, run.first - 1)
    for event in run.events:
        _add_record(request, stream, event)


def _add_check(request: streams_v2_pb2.AppendRecordsRequest, stream: str, expected_state: int) -> None:
    state = request.checks.add().stream_state
    state.stream = stream
    state.expected_state = expected_state


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

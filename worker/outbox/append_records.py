"""KurrentDB's `AppendRecords` call over the channel settings and credentials of `esdbclient`, which does not speak it.

Marked unstable upstream, in every server since 26.1.0; the messages are `protos/streams_v2.proto`. The refusal travels
in the call's trailers and grows with the number of streams, hence the limits on metadata: with gRPC's own, a refusal of
some dozens of streams would look like an exhausted resource for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import grpc
from esdbclient import AsyncEventStoreDBClient

from worker.contracts.events import STREAM_PREFIX
from worker.ledger.entry import NewEvent
from worker.outbox.protos import rpc_status_pb2, streams_v2_errors_pb2, streams_v2_pb2
from worker.outbox.run import Run

METHOD = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords"
STATUS_TRAILER = "grpc-status-details-bin"
METADATA_BYTES_MAX = 64 * 1024 * 1024
APPEND_BYTES_MAX = 8 * 1024 * 1024
"""As `Run.pieces` counts: half of the 16 MiB that the server takes at least."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    # A connection of its own: another client's back-off after an outage must not be inherited.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class AppendRecords:
    """The call, on a channel of its own, with `client`'s options and credentials, to the node that it found."""

    def __init__(self, client: AsyncEventStoreDBClient) -> None:
        spec = client.connection_spec
        options = tuple(client.grpc_options)
        if spec.options.Tls:
            credentials = grpc.ssl_channel_credentials(
                client.root_certificates, client.private_key, client.certificate_chain
            )
            self._channel = grpc.aio.secure_channel(client.connection_target, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(client.connection_target, options)
        self._metadata = (("requires-leader", "true"), ("connection-name", spec.options.ConnectionName))
        self._credentials = client.construct_call_credentials(spec.username, spec.password)
        self._call = self._channel.unary_unary(
            METHOD,
            request_serializer=streams_v2_pb2.AppendRecordsRequest.SerializeToString,
            response_deserializer=streams_v2_pb2.AppendRecordsResponse.FromString,
        )

    async def __call__(self, runs: Sequence[Run], *, timeout_s: float) -> dict[str, int]:
        """Append `runs` together, or none of them where a stream stands elsewhere.

        Returns those streams' revisions by wallet id; empty: written. Several calls where they are larger than
        `APPEND_BYTES_MAX`: written then means all of them. Raises `NotImplementedError` where the server has no such
        call, and `grpc.aio.AioRpcError` for everything else.
        """
        for request in build_requests(runs):
            try:
                await self._call(request, timeout=timeout_s, metadata=self._metadata, credentials=self._credentials)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    raise NotImplementedError(METHOD) from error
                revisions = _revisions(error)
                if not revisions:
                    raise
                return revisions
        return {}

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


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

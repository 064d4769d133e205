"""Requests of AppendRecords and BatchAppend for tests, sent over a plain gRPC channel."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import grpc
from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from worker.outbox.protos import streams_v2_pb2 as v2

APPEND_RECORDS = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords"
BATCH_APPEND = "/event_store.client.streams.Streams/BatchAppend"
READ = "/event_store.client.streams.Streams/Read"
NO_STREAM = -1


def channel(target: str) -> grpc.aio.Channel:
    """A channel of its own: no back-off shared with others, long refusals accepted."""
    sizes = ("grpc.max_metadata_size", "grpc.absolute_max_metadata_size")
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
    return grpc.aio.insecure_channel(target, options + [(size, 64 * 2**20) for size in sizes])


def records_request(events: Sequence[tuple[str, str]], expected: dict[str, int]) -> v2.AppendRecordsRequest:
    """A request to append events, given as stream and event id, with a check for each stream in `expected`."""
    request = v2.AppendRecordsRequest()
    for stream, event_id in events:
        record = request.records.add(record_id=event_id, stream=stream, data=b"{}")
        record.schema.format = v2.SCHEMA_FORMAT_JSON
        record.schema.name = "Happened"
    for stream, state in expected.items():
        request.checks.add(stream_state=v2.StreamState(stream=stream, expected_state=state))
    return request


async def append_records(on: grpc.aio.Channel, request: v2.AppendRecordsRequest) -> v2.AppendRecordsResponse:
    """Send it; raise AioRpcError where it is refused."""
    call = on.unary_unary(
        APPEND_RECORDS, v2.AppendRecordsRequest.SerializeToString, v2.AppendRecordsResponse.FromString
    )
    return await call(request, timeout=30)


def batch_append(on: grpc.aio.Channel) -> Any:
    """Open a BatchAppend call."""
    return on.stream_stream(
        BATCH_APPEND, streams_pb2.BatchAppendReq.SerializeToString, streams_pb2.BatchAppendResp.FromString
    )()


def batch_request(stream: str, expected: int, event_id: str) -> streams_pb2.BatchAppendReq:
    """One event for one stream; the event's id is the correlation id too."""
    request = streams_pb2.BatchAppendReq(correlation_id=shared_pb2.UUID(string=event_id), is_final=True)
    request.options.stream_identifier.stream_name = stream.encode()
    if expected == NO_STREAM:
        request.options.no_stream.SetInParent()
    else:
        request.options.stream_position = expected
    event = request.proposed_messages.add(id=shared_pb2.UUID(string=event_id), data=b"{}")
    event.metadata["type"] = "Happened"
    event.metadata["content-type"] = "application/json"
    return request


async def event_ids(on: grpc.aio.Channel, stream: str) -> list[str]:
    """The ids of all events of a stream, in order; none where it is not there."""
    request = streams_pb2.ReadReq()
    request.options.stream.stream_identifier.stream_name = stream.encode()
    request.options.stream.start.SetInParent()
    request.options.count = 2**62
    request.options.uuid_option.string.SetInParent()
    call = on.unary_stream(READ, streams_pb2.ReadReq.SerializeToString, streams_pb2.ReadResp.FromString)(request)
    return [answer.event.event.id.string async for answer in call if answer.HasField("event")]


def new_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]

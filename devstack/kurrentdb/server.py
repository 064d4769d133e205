"""The gRPC server: which call is answered by what, and how a refused call ends.

Requests and answers pass as bytes. Whatever is not listed here is UNIMPLEMENTED, by gRPC itself.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from devstack.kurrentdb import errors
from devstack.kurrentdb.append import AppendCalls
from devstack.kurrentdb.append_records import AppendRecordsCall
from devstack.kurrentdb.appends import Appends
from devstack.kurrentdb.batch import BatchAppendCall
from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.gossip import gossip_reply
from devstack.kurrentdb.read import ReadCall
from devstack.kurrentdb.security import Security
from devstack.kurrentdb.store import Store
from devstack.kurrentdb.writer import Writer

logger = logging.getLogger(__name__)

# AppendRecords takes up to 256 MiB of events a call; the first protocol's limit is kept by its calls themselves.
MESSAGE_BYTES_MAX = 256 * 2**20

MAX_STREAMS = 100
"""So many calls at once a connection."""
COLLECT_AFTER_S = 0.02

# What a client sees of the real server's connection settings.
OPTIONS = [
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 32 * 1024),
    ("grpc.http2.lookahead_bytes", 768 * 1024),
    ("grpc.http2.max_frame_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
]

OPEN = Security()

Unary = Callable[[bytes, Any], Awaitable[bytes]]
Pages = Callable[[Any], AsyncIterator[Sequence[bytes]]]


class Calls:
    """Wraps each call: not ready is said, a CallError ends it as it wants."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._refused = 0

    def unary(self, answer: Callable[[Any, Any], Awaitable[bytes]], when_not_ready: bool = False) -> Unary:
        """A call with one answer."""

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            try:
                self._check_ready(when_not_ready)
                return await answer(request, context)
            except (errors.CallError, DecodeError) as error:
                await self._end(context, error)

        return call

    def stream(self, pages: Pages, when_not_ready: bool = False) -> Callable[[Any, Any], Awaitable[None]]:
        """A call with any number of answers, made in pages: a generator's step for each would cost too much."""

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            try:
                self._check_ready(when_not_ready)
                async for page in pages(request):
                    for answer in page:
                        await context.write(answer)
            except (errors.CallError, DecodeError) as error:
                await self._end(context, error)

        return call

    def _check_ready(self, when_not_ready: bool) -> None:
        if not when_not_ready and not self._faults.is_ready:
            raise errors.not_ready()

    async def _end(
        self, context: grpc.aio.ServicerContext[Any, Any], error: errors.CallError | DecodeError
    ) -> NoReturn:
        if isinstance(error, DecodeError):
            error = errors.CallError(grpc.StatusCode.INTERNAL, "Failed to deserialize the request.")
        self._refused += 1
        if self._refused % (MAX_STREAMS // 4) == 0:
            # gRPC keeps an aborted call in a circle with its own error, and the call's stream stays open with it. Soon,
            # not now: what is under way when the collector runs is not looked at again for long.
            asyncio.get_running_loop().call_later(COLLECT_AFTER_S, gc.collect, 1)
        await context.abort(error.code, error.details, error.trailers)


def build_server(
    store: Store, faults: Faults, host: str, port: int, security: Security = OPEN
) -> tuple[grpc.aio.Server, int]:
    """A server over `store`, not started yet, and the port that it got (0 asks for any)."""
    server = grpc.aio.server(options=OPTIONS, interceptors=security.interceptors())
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    bound = security.open_port(server, address)
    for service, handlers in _handlers(store, faults, host, bound).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return server, bound


def _handlers(
    store: Store, faults: Faults, host: str, port: int
) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    calls = Calls(faults)
    appends = Appends(Writer(store), faults)
    append = AppendCalls(appends)

    def batch_append(requests: AsyncIterator[bytes]) -> AsyncIterator[Sequence[bytes]]:
        return BatchAppendCall(appends, faults).answers(requests)

    async def gossip(_request: bytes, _context: object) -> bytes:
        return gossip_reply(faults.is_ready, host, port)

    async def no_groups(_request: bytes, _context: object) -> bytes:
        raise errors.CallError(grpc.StatusCode.NOT_FOUND, "No persistent subscriptions.")

    return {
        "event_store.client.streams.Streams": {
            "Read": grpc.unary_stream_rpc_method_handler(calls.stream(ReadCall(store).read)),
            "Append": grpc.stream_unary_rpc_method_handler(calls.unary(append.append)),
            "BatchAppend": grpc.stream_stream_rpc_method_handler(calls.stream(batch_append, when_not_ready=True)),
            "Delete": grpc.unary_unary_rpc_method_handler(calls.unary(append.delete)),
            "Tombstone": grpc.unary_unary_rpc_method_handler(calls.unary(append.tombstone)),
        },
        "kurrentdb.protocol.v2.streams.StreamsService": {
            "AppendRecords": grpc.unary_unary_rpc_method_handler(
                calls.unary(AppendRecordsCall(appends, faults).append_records)
            ),
        },
        "event_store.client.gossip.Gossip": {
            "Read": grpc.unary_unary_rpc_method_handler(calls.unary(gossip, when_not_ready=True)),
        },
        "event_store.client.persistent_subscriptions.PersistentSubscriptions": {
            "List": grpc.unary_unary_rpc_method_handler(calls.unary(no_groups)),
        },
    }

"""A connection to KurrentDB that reads wallets' events in the order of `$all`: one of them, or all from a place on.

`esdbclient` reads the URI, finds the node and brings the messages. The calls are made here, on a channel of our own,
blocking, in threads: measured on a catch-up, its iterator takes twice as long over an event, and `grpc.aio` too. What
fails because the server is away is `Unavailable`; nothing is tried again here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import EventStoreDBClientException
from esdbclient.protos.Grpc.shared_pb2 import Empty
from esdbclient.protos.Grpc.streams_pb2 import ReadReq, ReadResp
from grpc.experimental import ChannelOptions

from worker.contracts.events import STREAM_PREFIX
from worker.outbox.connection import refusal, uri_errors
from worker.projection.document import RecordedEvent
from worker.projection.subscription import Subscription, SubscriptionLost, recorded_event

READ_PATH = "/event_store.client.streams.Streams/Read"
ALL_WALLETS = f"^{STREAM_PREFIX}"
METADATA_PREFIX = "$$"
WALLETS_AND_METADATA = rf"^(\$\$)?{STREAM_PREFIX}"
"""The same, and the metadata of their streams, of which each change is an event as well."""

FILTER_WINDOW = 2000
"""Events that the server looks at before it tells how far it came."""
MESSAGE_BYTES_MAX = 17 * 1024 * 1024
"""KurrentDB takes events of up to 16 MiB."""
READ_TIMEOUT_S = 5.0

# What KurrentDB answers to a position at which no record begins.
_NO_SUCH_POSITION = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INVALID_ARGUMENT})

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Without it a new channel shares the old one's reconnect back-off, which grows to minutes.
    ("grpc.use_local_subchannel_pool", 1),
    # The thread that reads waits for the network itself, instead of being woken by another for each event.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)


class EventLog:
    """The wallets' events of one KurrentDB; `connect` makes it."""

    def __init__(self, client: EventStoreDBClient) -> None:
        spec = client.connection_spec
        self._metadata = (("connection-name", spec.options.ConnectionName),)
        self._credentials = client.construct_call_credentials(spec.username, spec.password)
        self._channel = _open_channel(client)
        self._read: Any = self._channel.unary_stream(
            READ_PATH, request_serializer=ReadReq.SerializeToString, response_deserializer=ReadResp.FromString
        )

    @classmethod
    @asynccontextmanager
    async def connect(cls, uri: str) -> AsyncIterator[Self]:
        """Connect to the node that `uri` names, or to the leader of its cluster.

        `SubscriptionLost` if none answers, `Fatal` if it refuses us, or `esdbclient` cannot use the URI.
        """
        try:
            with uri_errors():
                client = await asyncio.to_thread(EventStoreDBClient, uri)
        except EventStoreDBClientException as error:
            raise refusal(error) or SubscriptionLost(f"KurrentDB: {error}") from error
        log = cls(client)
        try:
            yield log
        finally:
            log._channel.close()
            client.close()

    async def event_at(self, commit_position: int) -> RecordedEvent | None:
        """The wallet event at `commit_position`; None where there is none, or the log has no such place."""
        try:
            event = await asyncio.to_thread(self._read_one, ReadReq.Options(all=_from(commit_position)))
        except grpc.RpcError as error:
            if error.code() in _NO_SUCH_POSITION:
                return None
            raise SubscriptionLost.because(error) from error
        return event if event and event.commit_position == commit_position else None

    async def last_event(self, streams: str = ALL_WALLETS) -> RecordedEvent | None:
        """The newest event in the streams whose names match; None where there is none."""
        end = ReadReq.Options.AllOptions(end=Empty())
        try:
            return await asyncio.to_thread(
                self._read_one, ReadReq.Options(all=end, read_direction=ReadReq.Options.Backwards), streams
            )
        except grpc.RpcError as error:
            raise SubscriptionLost.because(error) from error

    async def ask(self) -> None:
        """Return if KurrentDB answers; what it answers does not matter. Costs it nothing, whatever the log holds."""
        options = ReadReq.Options(
            all=ReadReq.Options.AllOptions(end=Empty()),
            read_direction=ReadReq.Options.Backwards,
            no_filter=Empty(),
        )
        try:
            await asyncio.to_thread(self._read_one, options)
        except grpc.RpcError as error:
            raise SubscriptionLost.because(error) from error

    def subscribe(self, after: int | None, streams: str = ALL_WALLETS) -> Subscription:
        """Subscribe to the events of `streams` behind the commit position `after`, or to all; enter it to begin."""
        start = ReadReq.Options.AllOptions(start=Empty()) if after is None else _from(after)
        options = ReadReq.Options(all=start, subscription=ReadReq.Options.SubscriptionOptions())
        return Subscription(
            lambda: self._call(options, streams, timeout_s=None), after, lambda: self.last_event(streams)
        )

    def _read_one(self, options: ReadReq.Options, streams: str = ALL_WALLETS) -> RecordedEvent | None:
        options.count = 1
        for response in self._call(options, streams, READ_TIMEOUT_S):
            if response.WhichOneof("content") == "event":
                return recorded_event(response)
        return None

    def _call(self, options: ReadReq.Options, streams: str, timeout_s: float | None) -> Any:
        if not options.HasField("no_filter"):
            wallets = ReadReq.Options.FilterOptions.Expression(regex=streams)
            options.filter.CopyFrom(
                ReadReq.Options.FilterOptions(
                    stream_identifier=wallets, max=FILTER_WINDOW, checkpointIntervalMultiplier=1
                )
            )
        options.uuid_option.CopyFrom(ReadReq.Options.UUIDOption(string=Empty()))
        return self._read(
            ReadReq(options=options), timeout=timeout_s, metadata=self._metadata, credentials=self._credentials
        )


def _from(commit_position: int) -> ReadReq.Options.AllOptions:
    """Inclusive in a read, exclusive in a subscription: the server's own rule."""
    position = ReadReq.Options.Position(commit_position=commit_position, prepare_position=commit_position)
    return ReadReq.Options.AllOptions(position=position)


def _open_channel(client: EventStoreDBClient) -> grpc.Channel:
    if not client.connection_spec.options.Tls:
        return grpc.insecure_channel(client.connection_target, _CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(client.root_certificates, client.private_key, client.certificate_chain)
    return grpc.secure_channel(client.connection_target, credentials, _CHANNEL_OPTIONS)

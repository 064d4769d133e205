"""The connection for appends: a channel of our own to the node that `esdbclient` finds, with its credentials.

The client's own channel serves reads. Its appends are not used: they leave a refused call open, of which a server takes
a hundred, try again by themselves, and cancel one another when the connection is renewed.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from esdbclient import AsyncEventStoreDBClient

METADATA_BYTES_MAX = 64 * 1024 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A refused AppendRecords names its streams in the trailers: with gRPC's own limit, one of some dozens of streams
    # would look like an exhausted resource for ever.
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    # Another client's back-off after an outage must not be inherited.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """`metadata` and `credentials` go with each call on `channel`."""

    client: AsyncEventStoreDBClient
    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]
    credentials: grpc.CallCredentials | None

    async def close(self) -> None:
        """Close both channels, and cut the calls on them."""
        await self.channel.close()
        await self.client.close()


async def connect(uri: str) -> Connection:
    """Find the node that `uri` asks for, and open a channel to it. Raises what `esdbclient` raises."""
    client = AsyncEventStoreDBClient(uri)
    client.grpc_options += CHANNEL_OPTIONS
    await client.connect()
    spec = client.connection_spec
    if spec.options.Tls:
        credentials = grpc.ssl_channel_credentials(
            client.root_certificates, client.private_key, client.certificate_chain
        )
        channel = grpc.aio.secure_channel(client.connection_target, credentials, client.grpc_options)
    else:
        channel = grpc.aio.insecure_channel(client.connection_target, client.grpc_options)
    return Connection(
        client,
        channel,
        (("requires-leader", "true"), ("connection-name", spec.options.ConnectionName)),
        client.construct_call_credentials(spec.username, spec.password),
    )

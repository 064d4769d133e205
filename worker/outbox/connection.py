"""The connection for appends: a channel of our own to the node that `esdbclient` finds, with its credentials.

The client's own channel serves reads. Its appends are not used: they leave a refused call open, of which a server takes
a hundred, try again by themselves, and cancel one another when the connection is renewed.

What is raised for a failed call is told apart here: `Fatal` where waiting does not help, else `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from esdbclient import AsyncEventStoreDBClient
from esdbclient.exceptions import EventStoreDBClientException

from worker.errors import Fatal, Unavailable, not_trusted
from worker.settings import redact_uri

# gRPC has no type for these: they stand in the text of its, and so of esdbclient's, errors.
_REFUSALS = (
    "WRONG_VERSION_NUMBER",  # what answers speaks no TLS
    "CERTIFICATE_VERIFY_FAILED",
    "is not in peer certificate",
    "StatusCode.UNAUTHENTICATED",
    "StatusCode.PERMISSION_DENIED",
)

_TOLD = (grpc.Call, grpc.aio.AioRpcError)
"""gRPC's errors, of its two kinds of channels, which have `details`."""

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

    @property
    def is_up(self) -> bool:
        """Whether the channel for appends is connected."""
        return bool(self.channel.get_state() is grpc.ChannelConnectivity.READY)

    async def close(self) -> None:
        """Close both channels, and cut the calls on them."""
        await self.channel.close()
        await self.client.close()


async def connect(uri: str) -> Connection:
    """Find the node that `uri` asks for, and open a channel to it.

    Raises what `esdbclient` raises, and `Fatal` where it cannot use the URI.
    """
    with uri_errors():
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


@contextmanager
def uri_errors() -> Iterator[None]:
    """Raise `Fatal` where `esdbclient` cannot use the URI, or cannot read a file that it names."""
    try:
        yield
    except ValueError as error:
        # Its text may repeat the URI, and so the password: the error itself must not be seen either.
        raise Fatal(f"KURRENTDB_URI: {redact_uri(str(error))}") from None
    except OSError as error:
        raise Fatal(f"KURRENTDB_URI: {error.strerror}: {error.filename}") from error


@contextmanager
def kurrentdb_errors() -> Iterator[None]:
    """Raise what a call to KurrentDB raises as ours: `Fatal` where it refuses us or we it, else `Unavailable`."""
    try:
        yield
    except (EventStoreDBClientException, grpc.RpcError, OSError, TimeoutError) as error:
        text = f"KurrentDB: {type(error).__name__}: {_reason(error)}"
        raise refusal(error) or Unavailable(text, server="kurrentdb") from error


def refusal(error: BaseException) -> Fatal | None:
    """What to say where KurrentDB refuses our credentials, or its certificate does not verify; None for all else."""
    if not any(sign in str(error) for sign in _REFUSALS):
        return None
    return not_trusted("KurrentDB", _reason(error), "the user, password, host, tls and tlsCaFile of KURRENTDB_URI")


def _reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    while not isinstance(error, _TOLD) and error.args and isinstance(error.args[0], BaseException):
        # esdbclient wraps gRPC's error, whose own text is a page that names the peer and the time.
        error = error.args[0]
    return str(error.details()) if isinstance(error, _TOLD) else str(error).strip().split("\n")[0]

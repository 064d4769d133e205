"""How a process reaches Kafka: what every aiokafka client is given, and how it is started.

Relies on the settings alone, for upstream too. aiokafka hides why it could not connect, and would try for ever with a
password that the broker refuses: `start` finds out, and tells that from a broker that is away.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.admin import SaslAuthenticateRequest_v0, SaslAuthenticateRequest_v1

# Imported for what it does to every consumer: each of them survives what it cannot read.
import worker.kafka_fetch  # noqa: F401
from worker.settings import Settings

PROBE_TIMEOUT_MS = 5_000
_VARIABLES = "KAFKA_BOOTSTRAP_SERVERS, KAFKA_SASL_* and KAFKA_SSL_CAFILE"
_REFUSALS = (ssl.SSLCertVerificationError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)


def _say_broken(send: Callable[..., Any]) -> Callable[..., Any]:
    """Make `send` of a connection raise what aiokafka is prepared for where uvloop has closed it already.

    For a moment aiokafka does not know yet that its connection is gone. uvloop raises `RuntimeError` for a write then,
    where asyncio's own loop says nothing. Nobody in aiokafka expects it: the task that fetches or keeps the group would
    die of it, and the consumer would hold its partitions and read no more.
    """

    @wraps(send)
    def say_broken(connection: AIOKafkaConnection, *arguments: Any, **named: Any) -> Any:
        try:
            return send(connection, *arguments, **named)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error

    return say_broken


AIOKafkaConnection.send = _say_broken(AIOKafkaConnection.send)


def _says_no_password(line: logging.LogRecord) -> bool:
    """Whether aiokafka's line may be written: at DEBUG it shows every request, and one of them holds the password."""
    arguments = line.args if isinstance(line.args, tuple) else ()
    return not any(isinstance(one, (SaslAuthenticateRequest_v0, SaslAuthenticateRequest_v1)) for one in arguments)


logging.getLogger("aiokafka.conn").addFilter(_says_no_password)


class KafkaRefused(Exception):
    """A broker refuses our credentials, or its certificate does not verify: the same again will not help."""


class Client(Protocol):
    """A producer, a consumer or an admin client of aiokafka."""

    async def start(self) -> None:
        """Connect; `KafkaConnectionError` where no broker lets it."""


def connection_arguments(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client of this process is given: where the brokers are and how to speak to them."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = create_ssl_context(
            cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = (
            settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""
        )
    return arguments


def is_dead(consumer: AIOKafkaConsumer | None) -> bool:
    """Whether a consumer that was started has lost one of its own tasks: it keeps its partitions and reads no more.

    aiokafka says so nowhere: what is looked at are the tasks that fetch, keep the group and find the brokers, which run
    as long as it does.
    """
    if consumer is None or consumer._closed or consumer._fetcher is None:
        return False
    coordination = getattr(consumer._coordinator, "_coordination_task", None)
    tasks = (consumer._fetcher._fetch_task, coordination, consumer._client._sync_task)
    return any(task is not None and task.done() for task in tasks)


def share_out_anew(consumer: AIOKafkaConsumer) -> None:
    """Have the group of a started consumer share its partitions out anew. aiokafka has no word of its own for it."""
    consumer._coordinator.request_rejoin()


def find_member_id(consumer: AIOKafkaConsumer) -> str:
    """The id under which Kafka knows a consumer that has joined its group."""
    return cast(str, consumer._coordinator.member_id)


def find_position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """The offset that `consumer` reads next; None where that is not known, or the partition not its own."""
    if not consumer._subscription.is_assigned(partition):
        return None
    state = consumer._subscription.subscription.assignment.state_value(partition)
    return cast(int, state.position) if state.has_valid_position else None


def find_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Where the partition ended when something was last read from it; None as for the position."""
    return cast("int | None", consumer.highwater(partition)) if find_position(consumer, partition) is not None else None


async def start(client: Client, connection: dict[str, Any]) -> None:
    """Start an aiokafka client that was made with the arguments `connection`.

    Raises `KafkaRefused`, or what aiokafka raises.
    """
    try:
        await client.start()
    except KafkaConnectionError:
        refusal = await _find_refusal(connection)
        if refusal is None:
            raise
        # Not chained: aiokafka's own text, a list of addresses, would hide the reason.
        raise refusal from None


async def _find_refusal(connection: dict[str, Any]) -> KafkaRefused | None:
    """Connect to each broker once: what it or we refuse, None where all are only away."""
    if connection.get("security_protocol", "PLAINTEXT") == "PLAINTEXT":
        return None
    how = connection | {"request_timeout_ms": PROBE_TIMEOUT_MS}
    for server in how.pop("bootstrap_servers").split(","):
        host, _, port = server.rpartition(":")
        try:
            broker = await create_conn(host.strip("[]"), int(port), **how)
        except _REFUSALS as error:
            return KafkaRefused(f"Kafka at {server}: {type(error).__name__}: {error}; check {_VARIABLES}")
        except (OSError, TimeoutError, KafkaError):
            continue
        broker.close()
    return None

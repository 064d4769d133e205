"""How a process reaches Kafka: aiokafka's arguments, FastStream's security, and the topics that are ours to create."""

from __future__ import annotations

from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from aiokafka.helpers import create_ssl_context
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from worker.contracts.topics import PARTITIONS
from worker.errors import Fatal, Unavailable
from worker.settings import Settings

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}

log = structlog.get_logger(__name__)


def connection_arguments(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client of this process is given: where the brokers are and how to speak to them."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = _password(settings)
    return arguments


def broker_security(settings: Settings) -> BaseSecurity | None:
    """The same for FastStream's broker."""
    ssl_context = _ssl_context(settings) if settings.kafka_security_protocol.endswith("SSL") else None
    if settings.kafka_security_protocol.startswith("SASL"):
        security = _SASL[settings.kafka_sasl_mechanism or "PLAIN"]
        return security(settings.kafka_sasl_username or "", _password(settings), ssl_context, ssl_context is not None)
    return BaseSecurity(ssl_context, use_ssl=True) if ssl_context is not None else None


async def ensure_topics(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Create the worker's own topics where they are missing; raise `Fatal` where a command topic is compacted.

    Compaction keeps the last record of a key only: of a wallet's commands all but one could vanish unread.
    """
    names = [*settings.command_topics, settings.reply_topic, settings.schedule_topic, settings.dlq_topic]
    try:
        existing = set(await admin.list_topics())
        for name in dict.fromkeys(name for name in names if name not in existing):
            await _create(admin, name, settings.kafka_replication_factor)
        await _refuse_compacted(admin, settings.command_topics)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


async def _create(admin: AIOKafkaAdminClient, name: str, replication_factor: int) -> None:
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, replication_factor)])
        log.info("topic_created", topic=name, partitions=PARTITIONS)
    except TopicAlreadyExistsError:
        # Another worker was quicker.
        return


async def _refuse_compacted(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> None:
    for topic in topics:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        entries = [entry for response in responses for resource in response.resources for entry in resource[4]]
        policy = next((entry[1] for entry in entries if entry[0] == "cleanup.policy"), "delete")
        if "compact" in policy:
            raise Fatal(
                f"the command topic {topic} has cleanup.policy={policy}: compaction drops commands unread; "
                "set it to delete, or choose another topic in COMMAND_TOPICS"
            )


def _password(settings: Settings) -> str:
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password is not None else ""


def _ssl_context(settings: Settings) -> Any:
    return create_ssl_context(cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None)

"""The topics that are the worker's own: made where they are missing, and refused where they would lose commands."""

from __future__ import annotations

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from worker.contracts.topics import PARTITIONS
from worker.errors import Fatal, Unavailable
from worker.settings import Settings

log = structlog.get_logger(__name__)


async def ensure_topics(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Create the worker's own topics where they are missing; raise `Fatal` where one of them is compacted.

    Compaction keeps the last record of a key only: of a wallet's commands all but one could vanish unread, and so could
    replies and dead letters; and a record without a key is refused.
    """
    names = [*settings.command_topics, settings.reply_topic, settings.schedule_topic, settings.dlq_topic]
    try:
        existing = set(await admin.list_topics())
        for name in dict.fromkeys(name for name in names if name not in existing):
            await _create(admin, name, settings.kafka_replication_factor)
        await _refuse_compacted(admin, tuple(dict.fromkeys(names)))
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
                f"the topic {topic} has cleanup.policy={policy}: compaction drops records unread, and what has no key "
                "is refused; set it to delete, or choose another topic in COMMAND_TOPICS, REPLY_TOPIC, DLQ_TOPIC or "
                "SCHEDULE_TOPIC"
            )

"""The topics that are the worker's own: made where they are missing, refused where they would lose what is in them.

Looked at as a worker starts. What it would lose at once ends it anywhere: compaction, and limits below what it sends.
What a broker's death, or a week without a worker, would lose ends it with `ENVIRONMENT=production`; elsewhere it is one
line of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    KafkaError,
    LeaderNotAvailableError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from worker.contracts.envelope import KEY_BYTES_MAX
from worker.contracts.topics import PARTITIONS
from worker.errors import Fatal, Unavailable
from worker.inbox.dead_letter import LETTER_BYTES_MAX
from worker.settings import Settings

WEEK_MS = 7 * 24 * 60 * 60 * 1000
FOR_EVER = -1
COPIES_IN_SYNC = 2
"""So many copies have what is acknowledged, where there are as many: one of them may be lost then."""
REPLY_BYTES_MAX = 256 * 1024
"""More than a group of a hundred parts is answered with: two wallets, a hold and an error each."""
EXPIRY_BYTES_MAX = 4 * 1024
TICK_BYTES_MAX = 1024

KNOWN_S = 10.0
KNOWN_POLL_S = 0.05

# Waiting does not mend these.
_REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)

log = structlog.get_logger(__name__)


class Use(StrEnum):
    """What a topic is for, by the variable that names it."""

    COMMANDS = "COMMAND_TOPICS"
    REPLIES = "REPLY_TOPIC"
    TICKS = "SCHEDULE_TOPIC"
    DEAD_LETTERS = "DLQ_TOPIC"


SENT_BYTES_MAX = {
    Use.COMMANDS: EXPIRY_BYTES_MAX,
    Use.REPLIES: KEY_BYTES_MAX + REPLY_BYTES_MAX,
    Use.TICKS: TICK_BYTES_MAX,
    Use.DEAD_LETTERS: LETTER_BYTES_MAX,
}
"""The largest record that a worker sends to a topic of this use, or a little more."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is: `copies` of its partition with the fewest, `configs` by Kafka's names, defaults included."""

    name: str
    use: Use
    partitions: int
    copies: int
    configs: dict[str, str]

    def number(self, config: str, default: int) -> int:
        """The number that a setting has; `default` where the broker does not say."""
        return int(self.configs.get(config, default))


async def ensure_topics(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Create the worker's own topics where they are missing, and judge them all.

    Raises `Fatal` where one of them would lose records, or may not be made or looked at.
    """
    uses = {
        **dict.fromkeys(settings.command_topics, Use.COMMANDS),
        settings.reply_topic: Use.REPLIES,
        settings.schedule_topic: Use.TICKS,
        settings.dlq_topic: Use.DEAD_LETTERS,
    }
    is_production = settings.environment == "production"
    try:
        existing = set(await admin.list_topics())
        missing = [name for name in uses if name not in existing]
        if missing and is_production and settings.kafka_replication_factor < COPIES_IN_SYNC:
            raise Fatal(
                f"the topics {', '.join(missing)} are missing, and would be made with one copy, which is refused when "
                "ENVIRONMENT=production: expected KAFKA_REPLICATION_FACTOR of 3, or topics that are there"
            )
        for name in missing:
            await _create(admin, name, uses[name], settings.kafka_replication_factor)
        judge([await _describe_known(admin, name, use) for name, use in uses.items()], is_production=is_production)
    except _REFUSALS as error:
        raise Fatal(f"Kafka: {type(error).__name__}: {error}; see to the rights of KAFKA_SASL_USERNAME") from error
    except (KafkaError, OSError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def judge(topics: Iterable[Topic], *, is_production: bool) -> None:
    """Raise `Fatal` where topics lose records; log in one line what is not as it should be and may be borne."""
    topics = list(topics)
    losing = [problem for topic in topics for problem in find_losses(topic)]
    weak = [problem for topic in topics for problem in find_weaknesses(topic)]
    if is_production:
        losing += [f"{problem}: refused when ENVIRONMENT=production" for problem in weak]
    if losing:
        raise Fatal("; ".join(losing))
    problems = weak + [problem for topic in topics for problem in find_limits(topic)]
    if problems:
        log.warning("topics_not_as_expected", problems=problems)


def find_losses(topic: Topic) -> list[str]:
    """What makes `topic` lose records now, and what to do about it."""
    losses = []
    policy, limit = topic.configs.get("cleanup.policy", "delete"), SENT_BYTES_MAX[topic.use]
    if "compact" in policy:
        losses.append(
            f"the topic {topic.name} has cleanup.policy={policy}: compaction drops records unread, and what has no key "
            f"is refused; set it to delete, or choose another topic in {topic.use}"
        )
    if topic.number("max.message.bytes", limit) < limit:
        losses.append(
            f"the topic {topic.name} has max.message.bytes={topic.configs['max.message.bytes']}: a worker sends up to "
            f"{limit} bytes there; set it higher, or choose another topic in {topic.use}"
        )
    return losses


def find_weaknesses(topic: Topic) -> list[str]:
    """What makes `topic` lose records once a broker dies, or no worker runs for some days."""
    if topic.use is Use.TICKS:
        # The next tick is as good as a lost one.
        return []
    weak = []
    if topic.copies < COPIES_IN_SYNC:
        weak.append(f"the topic {topic.name} has one copy: expected 3")
    if topic.number("min.insync.replicas", COPIES_IN_SYNC) < COPIES_IN_SYNC:
        weak.append(f"the topic {topic.name} has min.insync.replicas=1: expected {COPIES_IN_SYNC}")
    if topic.configs.get("unclean.leader.election.enable") == "true":
        weak.append(f"the topic {topic.name} has unclean.leader.election.enable=true: expected false")
    if FOR_EVER < topic.number("retention.ms", FOR_EVER) < WEEK_MS:
        weak.append(
            f"the topic {topic.name} has retention.ms={topic.configs['retention.ms']}: expected {WEEK_MS} (a week)"
        )
    return weak


def find_limits(topic: Topic) -> list[str]:
    """What may be meant so, and would surprise whoever did not mean it."""
    if topic.use is Use.COMMANDS and topic.partitions == 1:
        return [
            f"the topic {topic.name} has one partition: one worker runs all of its commands, others have nothing to do"
        ]
    if topic.use is Use.DEAD_LETTERS and topic.number("retention.ms", FOR_EVER) >= WEEK_MS:
        return [
            f"the topic {topic.name} has retention.ms={topic.configs['retention.ms']}: expected -1, letters are kept"
        ]
    return []


async def _create(admin: AIOKafkaAdminClient, name: str, use: Use, copies: int) -> None:
    configs = {"retention.ms": str(FOR_EVER)} if use is Use.DEAD_LETTERS else {}
    if copies >= COPIES_IN_SYNC:
        configs["min.insync.replicas"] = str(COPIES_IN_SYNC)
    response = await admin.create_topics([NewTopic(name, PARTITIONS, copies, topic_configs=configs)])
    for error in response.topic_errors:
        kind = for_code(error[1])
        if kind is TopicAlreadyExistsError:
            # Another worker was quicker.
            return
        if error[1]:
            raise kind(f"the topic {name} was not made: {error[2:]}")
    log.info("topic_created", topic=name, partitions=PARTITIONS)


async def _describe_known(admin: AIOKafkaAdminClient, name: str, use: Use) -> Topic:
    """Describe a topic, which may have been made just now: for a moment a broker does not know of it."""
    async with asyncio.timeout(KNOWN_S):
        while True:
            try:
                return await _describe(admin, name, use)
            except (UnknownTopicOrPartitionError, LeaderNotAvailableError):
                await asyncio.sleep(KNOWN_POLL_S)


async def _describe(admin: AIOKafkaAdminClient, name: str, use: Use) -> Topic:
    (found,) = await admin.describe_topics([name])
    _raise_for(found["error_code"], name)
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((code, _message, _type, _name, entries),) = response.resources
    _raise_for(code, name)
    copies = [len(partition["replicas"]) for partition in found["partitions"]]
    return Topic(name, use, len(copies), min(copies, default=0), {entry[0]: entry[1] for entry in entries})


def _raise_for(code: int, topic: str) -> None:
    if code:
        raise for_code(code)(f"the topic {topic} cannot be described")

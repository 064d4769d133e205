"""Kafka from the command line: a consumer of reply topics that belongs to no group, and a producer for one command.

Reading leaves no trace: no group, no commits. Kafka being away is `KafkaAway`, with one line that says where it was
looked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import ValidationError

from worker.contracts.envelope import REPLAYED
from worker.contracts.replies import Reply
from worker.kafka import KafkaRefused, connection_arguments, start
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 10_000


class KafkaAway(Exception):
    """Kafka does not answer, not as it should, or refuses us; the message is one line."""


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Raise what aiokafka raises as `KafkaAway`."""
    try:
        yield
    except KafkaRefused as error:
        raise KafkaAway(str(error)) from error
    except KafkaError as error:
        # aiokafka's text for this one is a list of socket addresses.
        reason = "no answer" if isinstance(error, KafkaConnectionError) else str(error) or type(error).__name__
        raise KafkaAway(f"Kafka at {settings.kafka_bootstrap_servers}: {reason}") from error


@asynccontextmanager
async def open_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that waits for all replicas."""
    connection = connection_arguments(settings)
    producer = AIOKafkaProducer(**connection, acks="all", request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with kafka_errors(settings):
            await start(producer, connection)
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def open_consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group and without partitions; `assign` gives it some."""
    connection = connection_arguments(settings)
    consumer = AIOKafkaConsumer(**connection, enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with kafka_errors(settings):
            await start(consumer, connection)
        yield consumer
    finally:
        await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    """The partitions of those of `topics` that exist."""
    # aiokafka has no public way that neither subscribes nor may create a topic.
    cluster = await consumer._client.fetch_all_metadata()
    return [
        TopicPartition(topic, partition)
        for topic in dict.fromkeys(topics)
        for partition in sorted(cluster.partitions_for_topic(topic) or ())
    ]


def read_reply(value: bytes | None) -> Reply | None:
    """The reply in a record, without what a later release may have added to it; None where it holds something else."""
    try:
        return Reply.model_validate_json(value or b"", extra="ignore")
    except ValidationError:
        return None


def is_replayed(record: ConsumerRecord) -> bool:
    """Whether the reply belongs to a command that had run before."""
    return (REPLAYED, b"true") in record.headers

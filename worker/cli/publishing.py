"""One command to Kafka, and the wait for its reply.

The reply topics' ends are taken before the command is sent, so that no reply is missed however quick it is. A reply is
known by the correlation id, and by the command's: an expiry is answered under the correlation id of its `PlaceHold`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from worker.cli.reply_topic import (
    KafkaAway,
    is_replayed,
    kafka_errors,
    open_consumer,
    open_producer,
    partitions_of,
    read_reply,
)
from worker.contracts.commands import Command
from worker.contracts.envelope import CORRELATION_ID, REPLY_TO
from worker.contracts.replies import Reply
from worker.contracts.results import is_of_another
from worker.settings import Settings


class NotPublished(Exception):
    """The command was not sent, and why."""


class OutcomeUnknown(Exception):
    """The command may have been sent, and may take effect; no answer came, and why."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A checked command and the record that carries it."""

    command: Command
    value: bytes
    topic: str
    key: bytes
    correlation_id: str
    reply_to: str | None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The record's headers."""
        headers = [(CORRELATION_ID, self.correlation_id.encode())]
        return headers if self.reply_to is None else [*headers, (REPLY_TO, self.reply_to.encode())]


class Published(NamedTuple):
    """Where the command's record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}, partition {self.partition}, offset {self.offset}"


class Answer(NamedTuple):
    """A reply as it came: its bytes, and read."""

    value: bytes
    reply: Reply
    replayed: bool


async def publish(settings: Settings, outgoing: Outgoing, timeout_s: float | None) -> Published | Answer:
    """Publish; with `timeout_s` wait that long for the reply. Raises `NotPublished` or `OutcomeUnknown`."""
    try:
        async with open_producer(settings) as producer, open_consumer(settings) as consumer:
            with kafka_errors(settings):
                # An answer to a topic that is missing goes to the default one.
                topics = {settings.reply_topic, outgoing.reply_to or settings.reply_topic}
                await _refuse_missing(consumer, outgoing.topic)
                if timeout_s is not None:
                    await _start_at_end(consumer, await partitions_of(consumer, topics), settings.reply_topic)
            published = await _send(settings, producer, outgoing)
            if timeout_s is None:
                return published
            return await _await_reply(settings, consumer, outgoing, timeout_s)
    except KafkaAway as error:
        raise NotPublished(str(error)) from error


async def _refuse_missing(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Refuse to send to a topic that is missing: the broker might make it, with one partition."""
    if not await partitions_of(consumer, [topic]):
        raise NotPublished(f"there is no topic {topic}: `wallex worker` makes its topics when it starts")


async def _start_at_end(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], reply_topic: str) -> None:
    if not any(partition.topic == reply_topic for partition in partitions):
        raise NotPublished(f"there is no topic {reply_topic}: `wallex worker` makes its topics when it starts")
    consumer.assign(partitions)
    for partition, end in (await consumer.end_offsets(partitions)).items():
        consumer.seek(partition, end)


async def _send(settings: Settings, producer: AIOKafkaProducer, outgoing: Outgoing) -> Published:
    try:
        with kafka_errors(settings):
            sent = await producer.send_and_wait(outgoing.topic, outgoing.value, outgoing.key, headers=outgoing.headers)
    except KafkaAway as error:
        raise OutcomeUnknown(str(error)) from error
    return Published(sent.topic, sent.partition, sent.offset)


async def _await_reply(settings: Settings, consumer: AIOKafkaConsumer, outgoing: Outgoing, timeout_s: float) -> Answer:
    try:
        with kafka_errors(settings):
            async with asyncio.timeout(timeout_s):
                async for record in consumer:
                    if answer := _read_answer(record, outgoing):
                        return answer
    except TimeoutError as error:
        raise OutcomeUnknown(f"no answer within {timeout_s:g} s") from error
    except KafkaAway as error:
        raise OutcomeUnknown(str(error)) from error
    raise OutcomeUnknown("the consumer ended before an answer came")


def _read_answer(record: ConsumerRecord, outgoing: Outgoing) -> Answer | None:
    if (CORRELATION_ID, outgoing.correlation_id.encode()) not in record.headers:
        return None
    reply = read_reply(record.value)
    if reply is None or is_of_another(outgoing.command, reply):
        return None
    return Answer(record.value, reply, is_replayed(record))

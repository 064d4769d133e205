"""Publish replies and dead letters, and wait until Kafka has them all.

A reply whose topic does not exist or does not take it goes to the default reply topic instead, with a header that names
the topic it was meant for: nothing may fail for good after the commit. A producer that fails for an unknown reason is
replaced by a new one, since aiokafka's cannot always recover; what was sent twice is the same bytes twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.contracts.envelope import REPLY_TO_FAILED
from worker.errors import Unavailable

SEND_TIMEOUT_S = 15.0
LINGER_MS = 2
BATCH_BYTES_MAX = 256 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_S = 5.0
TOPICS_REFRESH_S = 5.0

_NOT_TAKEN = (
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

_NULL = object()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """A record to publish. Only a reply may be redirected to the default reply topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    is_reply: bool = True


class Publisher:
    """The process's producer. `connection` are aiokafka's arguments that say where the brokers are."""

    def __init__(self, connection: dict[str, Any], default_topic: str) -> None:
        self._connection = connection
        self._default_topic = default_topic
        self._producer: AIOKafkaProducer | None = None
        self._known_topics: frozenset[str] = frozenset()
        self._topics_read_at = float("-inf")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish `messages` and wait for all of them; raise `Unavailable` where Kafka does not take them now.

        After `Unavailable` some may have been published: publish all of them again.
        """
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                producer = await self._started()
                routed = [await self._route(producer, message) for message in messages]
                results = await _send(producer, routed)
                refused = [m for m, result in zip(routed, results, strict=True) if self._refused(m, result)]
                again = await _send(producer, [self._redirect(message) for message in refused])
                _raise_first(again)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    async def is_ready(self) -> None:
        """Ask Kafka for something small; raise `KafkaError` where it does not answer."""
        producer = await self._started()
        await producer.client.fetch_all_metadata()

    async def close(self) -> None:
        """Flush and close the producer; the next `publish` starts another."""
        producer, self._producer = self._producer, None
        self._topics_read_at = float("-inf")
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("producer_not_closed", error=f"{type(error).__name__}: {error}")

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._connection,
                acks="all",
                value_serializer=_write_value,
                linger_ms=LINGER_MS,
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=REQUEST_BYTES_MAX,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            try:
                await producer.start()
            except BaseException:
                # aiokafka leaves the client of a failed start open.
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _route(self, producer: AIOKafkaProducer, message: Message) -> Message:
        """The message, or where its topic does not exist, the same for the default reply topic."""
        if message.topic in self._known_topics:
            return message
        if time.monotonic() - self._topics_read_at >= TOPICS_REFRESH_S:
            cluster = await producer.client.fetch_all_metadata()
            self._known_topics, self._topics_read_at = frozenset(cluster.topics()), time.monotonic()
        if message.topic in self._known_topics or not message.is_reply or message.topic == self._default_topic:
            return message
        return self._redirect(message)

    def _refused(self, message: Message, result: object) -> bool:
        """Whether the topic of a reply did not take it, so that it goes to the default one; raise any other failure."""
        if not isinstance(result, BaseException):
            return False
        if isinstance(result, _NOT_TAKEN) and message.is_reply and message.topic != self._default_topic:
            return True
        raise result

    def _redirect(self, message: Message) -> Message:
        headers = [*message.headers, (REPLY_TO_FAILED, message.topic.encode())]
        return replace(message, topic=self._default_topic, headers=headers)


async def _send(producer: AIOKafkaProducer, messages: Sequence[Message]) -> list[object]:
    """Send all, then wait for all: each one's record metadata or exception."""
    waiting = [await _enqueue(producer, message) for message in messages]
    return list(await asyncio.gather(*waiting, return_exceptions=True))


async def _enqueue(producer: AIOKafkaProducer, message: Message) -> Awaitable[object]:
    value = _NULL if message.value is None else message.value
    try:
        sent: Awaitable[object] = await producer.send(message.topic, value, message.key, headers=list(message.headers))
    except _NOT_TAKEN as error:
        failed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed
    return sent


def _write_value(value: object) -> bytes | None:
    # aiokafka refuses a record without key and value, though Kafka has them and a dead letter may be one.
    return None if value is _NULL else cast(bytes, value)


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result

"""Publish replies and dead letters, and wait until Kafka has them all.

A reply whose topic does not exist or does not take it, whatever the broker's reason, goes to the default reply topic
instead, with a header that names the topic it was meant for: nothing may fail for good after the commit, least of all
because of a topic that a sender chose. A producer that fails otherwise is replaced by a new one, since aiokafka's
cannot always recover; what was sent twice is the same bytes twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, KafkaError, RequestTimedOutError
from aiokafka.producer.message_accumulator import BatchBuilder

from worker.contracts.envelope import REPLY_TO_FAILED
from worker.errors import Fatal, Unavailable
from worker.kafka import KafkaRefused, start
from worker.outbox.partitioner import Partitioner

SEND_TIMEOUT_S = 15.0
BATCH_BYTES_MAX = 256 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_S = 5.0
TOPICS_REFRESH_S = 5.0

_Placed = tuple[BatchBuilder, list[int]]
_partition = Partitioner()

log = structlog.get_logger(__name__)


class Message(NamedTuple):
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
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()
        self._known_topics: frozenset[str] = frozenset()
        self._missing_topics: frozenset[str] = frozenset()
        self._topics_read_at = float("-inf")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish `messages` and wait for all of them; raise `Unavailable` where Kafka does not take them now.

        After `Unavailable` some may have been published: publish all of them again. `Fatal`: Kafka refuses us.
        """
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                producer = await self._started()
                await self._read_topics(producer, {message.topic for message in messages})
                routed = [self._redirect(m) if self._is_missing(m) else m for m in messages]
                results = await _send(producer, routed)
                refused = [m for m, result in zip(routed, results, strict=True) if self._refused(m, result)]
                again = await _send(producer, [self._redirect(message) for message in refused])
                _raise_first(again)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    async def is_ready(self) -> None:
        """Ask Kafka for something small; raise `KafkaError` or `OSError` where it does not answer."""
        producer = await self._started()
        await producer.client.fetch_all_metadata()

    async def close(self) -> None:
        """Flush and close the producer; the next `publish` starts another."""
        producer, self._producer = self._producer, None
        self._known_topics, self._topics_read_at = frozenset(), float("-inf")
        if producer is None:
            return
        # Not cancelled where it takes long: aiokafka would leave its tasks and connections behind.
        stopping = asyncio.create_task(producer.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopped)
        await asyncio.wait({stopping}, timeout=CLOSE_TIMEOUT_S)

    def _stopped(self, stopping: asyncio.Task[None]) -> None:
        self._stopping.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            log.warning("producer_not_closed", error=f"{type(error).__name__}: {error}")

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                self._producer = await _start_producer(self._connection)
            return self._producer

    async def _read_topics(self, producer: AIOKafkaProducer, wanted: set[str]) -> None:
        """Find out which of the topics `wanted` exist: asking for one that does not may create it."""
        unknown = wanted - self._known_topics
        fresh = time.monotonic() - self._topics_read_at < TOPICS_REFRESH_S
        if unknown and not (fresh and unknown <= self._missing_topics):
            cluster = await producer.client.fetch_all_metadata()
            self._known_topics, self._topics_read_at = frozenset(cluster.topics()), time.monotonic()
            self._missing_topics = frozenset(unknown - self._known_topics)

    def _is_missing(self, message: Message) -> bool:
        """Whether a reply is to go to the default topic because its own does not exist."""
        return self._may_be_redirected(message) and message.topic not in self._known_topics

    def _refused(self, message: Message, result: object) -> bool:
        """Whether the topic of a reply did not take it, so that it goes to the default one; raise any other failure."""
        if not isinstance(result, BaseException):
            return False
        is_answer = isinstance(result, BrokerResponseError) and not isinstance(result, RequestTimedOutError)
        if not is_answer or not self._may_be_redirected(message):
            raise result
        log.warning("reply_redirected", topic=message.topic, error=f"{type(result).__name__}: {result}")
        self._known_topics -= {message.topic}
        return True

    def _may_be_redirected(self, message: Message) -> bool:
        return message.is_reply and message.topic != self._default_topic

    def _redirect(self, message: Message) -> Message:
        headers = [*message.headers, (REPLY_TO_FAILED, message.topic.encode())]
        return message._replace(topic=self._default_topic, headers=headers)


async def _start_producer(connection: dict[str, Any]) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **connection,
        acks="all",
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=REQUEST_BYTES_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    try:
        await start(producer, connection)
    except BaseException as error:
        # aiokafka leaves the client of a failed start open.
        await producer.stop()
        if isinstance(error, KafkaRefused):
            raise Fatal(str(error)) from error
        raise
    return producer


async def _send(producer: AIOKafkaProducer, messages: Sequence[Message]) -> list[object]:
    """Send all, then wait for all: each one's record metadata or exception.

    A partition's messages go as one batch, or as few as their size allows: to hand them over one by one would cost
    aiokafka more than the rest of a reply.
    """
    results: list[object] = [None] * len(messages)
    waiting: list[tuple[list[int], asyncio.Future[object]]] = []
    try:
        for (topic, partition), batches in (await _batches(producer, messages, results)).items():
            for batch, places in batches:
                waiting.append((places, await producer.send_batch(batch, topic, partition=partition)))
        sent = await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
    finally:
        # Those that nobody waits for any more, after an error: else asyncio complains of what becomes of them.
        for _, future in waiting:
            future.cancel()
    for (places, _), result in zip(waiting, sent, strict=True):
        for place in places:
            results[place] = result
    return results


async def _batches(
    producer: AIOKafkaProducer, messages: Sequence[Message], results: list[object]
) -> dict[tuple[str, int], list[_Placed]]:
    """The batches of each partition, with the places of their messages; what has no partition has its error instead."""
    batches: dict[tuple[str, int], list[_Placed]] = defaultdict(list)
    partitions: dict[str, list[int] | BrokerResponseError] = {}
    for place, message in enumerate(messages):
        topic = message.topic
        if topic not in partitions:
            partitions[topic] = await _partitions(producer, topic)
        found = partitions[topic]
        if isinstance(found, BrokerResponseError):
            results[place] = found
            continue
        own = batches[topic, _partition(message.key, found, found)]
        if not own or not _append(own[-1], message, place):
            own.append((producer.create_batch(), []))
            _append(own[-1], message, place)
    return batches


async def _partitions(producer: AIOKafkaProducer, topic: str) -> list[int] | BrokerResponseError:
    try:
        return sorted(await producer.partitions_for(topic))
    except BrokerResponseError as error:
        return error


def _append(placed: _Placed, message: Message, place: int) -> bool:
    """Append to a batch, unless it is full."""
    batch, places = placed
    headers = list(message.headers)
    if batch.append(timestamp=None, key=message.key, value=message.value, headers=headers) is None:
        return False
    places.append(place)
    return True


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result

"""Request and reply over Kafka: a record out, and the one that answers it back, thousands at a time.

The reply topic is read by all of its readers in full, without a group: nothing is committed, nothing is rebalanced, and
what is meant for others is passed over by its header alone; so is what cannot be read. Reading starts at the topic's
end as it was before the first request, so no reply is missed however quick it is; partitions that are added later are
read from their beginning. A request that is given up is forgotten. Once reading has ended, for whatever reason, every
request says so at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from worker.contracts.envelope import CORRELATION_ID, REPLY_TO
from worker.kafka import KafkaRefused, connection_arguments, start
from worker.kafka_fetch import find_unreadable
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 10_000
BATCH_BYTES_MAX = 256 * 1024
POLL_MS = 1_000
# How soon partitions that are added to the reply topic are noticed.
METADATA_AGE_MAX_MS = 5_000
TOPIC_PATIENCE_S = 2.0
TOPIC_POLL_S = 0.1


T = TypeVar("T")


class NotSent(Exception):
    """Nothing was sent, and why."""


class Unanswered(Exception):
    """The request may have been sent, and no answer was seen; why."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Somebody who waits for an answer, and how to read it: None where a record is none."""

    reply: asyncio.Future[Any]
    read: Callable[[ConsumerRecord], Any]


class Exchange:
    """An open way to ask on `request_topic` and be answered on `reply_topic`; `open_exchange` makes one."""

    def __init__(
        self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, request_topic: str, reply_topic: str
    ) -> None:
        self._producer, self._consumer = producer, consumer
        self._request_topic, self._reply_topic = request_topic, reply_topic
        self._waiting: dict[bytes, _Waiting] = {}
        self._reading: asyncio.Task[None] | None = None
        self._ended: str | None = None

    async def ask(self, key: bytes, value: bytes, timeout_s: float, read: Callable[[ConsumerRecord], T | None]) -> T:
        """Publish a request and return its answer.

        `read` makes it of a record under the request's correlation id, or None of one that answers something else:
        it is passed over. What it raises is raised here.

        Raises `NotSent` where it was not handed to Kafka, `Unanswered` where it may have been and no answer came within
        `timeout_s`. Cancelling forgets it; what was sent stays sent.
        """
        if self._ended is not None:
            raise NotSent(self._ended)
        correlation_id, sent = uuid4().hex.encode(), False
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = _Waiting(reply, read)
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(key, value, correlation_id, reply)
                sent = True
                return await reply
        except TimeoutError as error:
            if sent:
                raise Unanswered(f"no answer within {timeout_s:g} s") from error
            raise NotSent(f"Kafka took no further record within {timeout_s:g} s") from error
        finally:
            self._waiting.pop(correlation_id, None)

    async def start(self) -> None:
        """Fix where reading starts, and read from there on; `NotSent` where one of the topics is missing."""
        missing = await self._missing_topics()
        if missing:
            raise NotSent(
                f"there is no topic {' and no topic '.join(sorted(missing))}: `wallex worker` makes its own topics "
                "when it starts, a reply topic of one's own has to be made before"
            )
        partitions = self._partitions(await self._producer.partitions_for(self._reply_topic))
        self._read_from(await self._consumer.end_offsets(partitions))
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(self._end)

    async def stop(self) -> None:
        """End reading; whoever still waits is told."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _missing_topics(self) -> set[str]:
        """Which topics do not exist; a broker learns of one that was just made a little later.

        To ask for such a topic itself may create it, with a single partition.
        """
        deadline = time.monotonic() + TOPIC_PATIENCE_S
        wanted = {self._request_topic, self._reply_topic}
        # What a broker learns sends no event to wait for.
        while (missing := wanted - set(await self._consumer.topics())) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TOPIC_POLL_S)
        return missing

    async def _send(self, key: bytes, value: bytes, correlation_id: bytes, reply: asyncio.Future[Any]) -> None:
        headers = [(CORRELATION_ID, correlation_id), (REPLY_TO, self._reply_topic.encode())]
        try:
            sent = await self._producer.send(self._request_topic, value, key, headers=headers)
        except KafkaError as error:
            raise NotSent(f"Kafka did not take it: {explain(error)}") from error
        # Not awaited: the answer may be quicker than the acknowledgement.
        sent.add_done_callback(partial(_acknowledged, reply))

    async def _read(self) -> None:
        while True:
            await self._follow_partitions()
            found = await self._consumer.getmany(timeout_ms=POLL_MS)
            for records in found.values():
                for record in records:
                    self._hand_over(record)

    def _hand_over(self, record: ConsumerRecord) -> None:
        """Give `record` to whoever waits for it. Header values may be null, binary and repeated: the last counts."""
        waiting = self._waiting.get(dict(record.headers).get(CORRELATION_ID) or b"")
        if waiting is None or waiting.reply.done():
            return
        try:
            answer = waiting.read(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told the one who waits
            waiting.reply.set_exception(error)
            return
        if answer is not None:
            waiting.reply.set_result(answer)

    async def _follow_partitions(self) -> None:
        """Take in partitions that were added since; go on at the end of those whose next records cannot be read."""
        assigned = self._consumer.assignment()
        known = self._partitions(self._consumer.partitions_for_topic(self._reply_topic) or ())
        added = known - assigned
        unreadable = [partition for partition in assigned if find_unreadable(self._consumer, partition)]
        if added or unreadable:
            positions = {partition: await self._consumer.position(partition) for partition in assigned}
            ends = await self._consumer.end_offsets(unreadable) if unreadable else {}
            self._read_from(positions | ends | dict.fromkeys(added, 0))

    def _read_from(self, positions: dict[TopicPartition, int]) -> None:
        self._consumer.assign(list(positions))
        for partition, offset in positions.items():
            self._consumer.seek(partition, offset)

    def _partitions(self, numbers: Iterable[int]) -> set[TopicPartition]:
        return {TopicPartition(self._reply_topic, number) for number in numbers}

    def _end(self, reading: asyncio.Task[None]) -> None:
        """Tell everyone who waits, and everyone who will ask, that no reply is read any more."""
        error = None if reading.cancelled() else reading.exception()
        closed = "the client is closed" if error is None else f"{self._reply_topic} cannot be read: {explain(error)}"
        self._ended = closed
        for waiting in self._waiting.values():
            _give_up(waiting.reply, closed, error)


def explain(error: BaseException) -> str:
    """An error of aiokafka in a few words."""
    # Its text is a list of socket addresses.
    return "no answer" if isinstance(error, KafkaConnectionError) else f"{type(error).__name__}: {error}"


def _acknowledged(reply: asyncio.Future[Any], sent: asyncio.Future[Any]) -> None:
    error = None if sent.cancelled() else sent.exception()
    if error is not None:
        # Perhaps an earlier attempt of aiokafka's got through and only its acknowledgement was lost.
        _give_up(reply, f"Kafka did not acknowledge it: {explain(error)}", error)


def _give_up(reply: asyncio.Future[Any], reason: str, cause: BaseException | None) -> None:
    if not reply.done():
        unanswered = Unanswered(reason)
        unanswered.__cause__ = cause
        reply.set_exception(unanswered)


@asynccontextmanager
async def open_exchange(settings: Settings, reply_topic: str) -> AsyncIterator[Exchange]:
    """Connect to Kafka, ask on the first of `COMMAND_TOPICS`; `NotSent` where Kafka or a topic is not there."""
    connection = connection_arguments(settings) | {"request_timeout_ms": REQUEST_TIMEOUT_MS}
    producer = AIOKafkaProducer(**connection, acks="all", max_batch_size=BATCH_BYTES_MAX)
    consumer = AIOKafkaConsumer(
        **connection,
        enable_auto_commit=False,
        # Only where the topic lost records that were not read: what is left may still hold an answer.
        auto_offset_reset="earliest",
        metadata_max_age_ms=METADATA_AGE_MAX_MS,
    )
    exchange = Exchange(producer, consumer, settings.command_topics[0], reply_topic)
    async with AsyncExitStack() as opened:
        for stop in (producer.stop, consumer.stop, exchange.stop):
            opened.push_async_callback(stop)
        try:
            await start(producer, connection)
            await start(consumer, connection)
            await exchange.start()
        except KafkaRefused as error:
            raise NotSent(str(error)) from error
        except KafkaError as error:
            raise NotSent(f"Kafka at {settings.kafka_bootstrap_servers}: {explain(error)}") from error
        yield exchange

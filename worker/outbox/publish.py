"""Publish replies and dead letters, and wait until Kafka has them all.

A reply whose topic does not exist or does not take it, whatever the broker's reason, goes to the default reply topic
instead, with a header that names the topic it was meant for: nothing may fail for good after the commit, least of all
because of a topic that a sender chose. Such a topic is left alone for `AVOIDED_S`, so that nobody waits for it anew.
What no topic takes is returned with the reason: to try it again would hold up everybody else's, for ever. A producer
that fails otherwise is replaced by a new one, since aiokafka's cannot always recover; what was acknowledged is not sent
again, what was sent twice all the same is the same bytes twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, InvalidTimestampError, KafkaError, RequestTimedOutError

from worker.contracts.envelope import REPLY_TO_FAILED
from worker.errors import Fatal, Unavailable
from worker.kafka import KafkaRefused, start
from worker.kafka_errors import Meaning, meaning
from worker.outbox.message import Message, Try
from worker.outbox.send import send
from worker.retry import until_available

__all__ = ["Message", "NotPublished", "Publisher"]

SEND_TIMEOUT_S = 15.0
BATCH_BYTES_MAX = 256 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_S = 5.0
TOPICS_REFRESH_S = 5.0
AVOIDED_S = 60.0
"""A topic that did not take a reply, for a reason that is not the reply's own, is not tried again before."""

log = structlog.get_logger(__name__)


class NotPublished(Unavailable):
    """Kafka did not take everything now. `left` are the places of what it has not acknowledged."""

    def __init__(self, error: BaseException, left: Sequence[int]) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.left = left


class Publisher:
    """The process's producer, which `start_producer` makes.

    `connection` are aiokafka's arguments that say where the brokers are.
    """

    def __init__(
        self,
        connection: dict[str, Any],
        default_topic: str,
        start_producer: Callable[[dict[str, Any]], Awaitable[AIOKafkaProducer]] | None = None,
    ) -> None:
        self._connection = connection
        self._start_producer = start_producer or _start_producer
        self._default_topic = default_topic
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()
        self._known_topics: frozenset[str] = frozenset()
        self._missing_topics: frozenset[str] = frozenset()
        self._topics_read_at = float("-inf")
        self._avoided_until: dict[str, float] = {}
        self._clock_is_refused = False

    async def deliver(self, messages: Sequence[Message]) -> dict[int, str]:
        """Publish `messages`, for as long as it takes; return by place why those are not that no topic takes.

        What does not get through at once is sent in ever smaller parts: on a slow line even those come to an end.
        """
        refused: dict[int, str] = {}
        left, at_once = list(range(len(messages))), len(messages)

        async def rest() -> None:
            nonlocal left, at_once
            while left:
                part = left[:at_once]
                try:
                    found = await self.publish([messages[place] for place in part])
                except NotPublished as error:
                    if len(error.left) == len(part):
                        at_once = max(at_once // 2, 1)
                    left = [*(part[index] for index in error.left), *left[len(part) :]]
                    raise
                refused.update({part[index]: why for index, why in found.items()})
                left, at_once = left[len(part) :], at_once * 2

        await until_available("kafka", rest)
        return refused

    async def publish(self, messages: Sequence[Message]) -> dict[int, str]:
        """Publish `messages` and wait for all of them; return by place why those are not that no topic takes.

        `NotPublished`, where Kafka does not take them now, says what is to be published again; `Fatal`: it refuses us.
        """
        tries = [Try(place, message, self._may_be_redirected(message)) for place, message in enumerate(messages)]
        refused: dict[int, str] = {}
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                producer = await self._started()
                await self._read_topics(producer, {message.topic for message in messages})
                for one in tries:
                    one.own_time = self._clock_is_refused and one.message.time_ms is not None
                    if self._is_missing(one.message):
                        self._redirect(one)
                while tries:
                    await send(producer, tries)
                    tries = [one for one in tries if not one.acknowledged]
                    refused |= self._prepare_again(tries)
                    tries = [one for one in tries if one.place not in refused]
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            left = {one.place for one in tries if not one.acknowledged} | refused.keys()
            raise NotPublished(error, sorted(left)) from error
        return refused

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
                self._producer = await self._start_producer(self._connection)
            return self._producer

    async def _read_topics(self, producer: AIOKafkaProducer, wanted: set[str]) -> None:
        """Find out which of the topics `wanted` exist: asking for one that does not may create it."""
        unknown = wanted - self._known_topics
        fresh = time.monotonic() - self._topics_read_at < TOPICS_REFRESH_S
        if unknown and not (fresh and unknown <= self._missing_topics):
            cluster = await producer.client.fetch_all_metadata()
            self._known_topics, self._topics_read_at = frozenset(cluster.topics()), time.monotonic()
            self._missing_topics = frozenset(unknown - self._known_topics)

    def _may_be_redirected(self, message: Message) -> bool:
        return message.is_reply and message.topic != self._default_topic

    def _is_missing(self, message: Message) -> bool:
        """Whether a reply is to go to the default topic: its own does not exist, or did not take one just now."""
        if not self._may_be_redirected(message):
            return False
        is_avoided = self._avoided_until.get(message.topic, float("-inf")) > time.monotonic()
        return is_avoided or message.topic not in self._known_topics

    def _prepare_again(self, tries: Sequence[Try]) -> dict[int, str]:
        """Change what its topic did not take into what it may take; return why that is not possible, by place.

        Each time a smaller batch, another time, another topic or a smaller record, so it comes to an end. What is sent
        in a smaller batch may change places with what came behind it. Raises the first error that says to try again.
        """
        refused: dict[int, str] = {}
        redirected: dict[str, BaseException] = {}
        for one in tries:
            error, topic = one.error, one.message.topic
            # Neither acknowledged nor refused: aiokafka says nothing of it, though all has been waited for.
            means = Meaning.FOR_NOW if error is None else meaning(error)
            if error is not None and self._is_changed(one, error, means):
                continue
            if one.may_be_redirected and isinstance(error, BrokerResponseError) and _is_answer(error):
                if means is not Meaning.THIS_RECORD:
                    self._avoid(topic)
                redirected.setdefault(topic, error)
                self._redirect(one)
            elif means is Meaning.FOR_NOW:
                raise error or TimeoutError(f"no answer to what was sent to {topic}")
            else:
                refused[one.place] = f"{topic} does not take it: {type(error).__name__}: {error}"
        for topic, error in redirected.items():
            log.warning("reply_redirected", topic=topic, error=f"{type(error).__name__}: {error}")
        return refused

    def _is_changed(self, one: Try, error: BaseException, means: Meaning) -> bool:
        """Whether there is something to change about the record that its own topic refused."""
        if means is not Meaning.THIS_RECORD:
            return False
        if isinstance(error, InvalidTimestampError) and not one.own_time and one.message.time_ms is not None:
            if not self._clock_is_refused:
                log.warning("clock_refused", topic=one.message.topic, error=f"{type(error).__name__}: {error}")
            one.own_time = self._clock_is_refused = True
            return True
        if one.together > 1:
            # Which of them it was is not known, or it was all of them together.
            one.together_max = one.together // 2
            return True
        shorter = one.message.shorten(one.message) if one.message.shorten is not None else None
        if shorter is None:
            return False
        one.message = shorter
        return True

    def _avoid(self, topic: str) -> None:
        now = time.monotonic()
        self._avoided_until = {name: until for name, until in self._avoided_until.items() if until > now}
        self._avoided_until[topic] = now + AVOIDED_S
        self._known_topics -= {topic}

    def _redirect(self, one: Try) -> None:
        headers = [*one.message.headers, (REPLY_TO_FAILED, one.message.topic.encode())]
        one.message = one.message._replace(topic=self._default_topic, headers=headers, partition=None)
        one.may_be_redirected = False


def _is_answer(error: BrokerResponseError) -> bool:
    """Whether a broker has said it of the topic, instead of being too slow."""
    return not isinstance(error, RequestTimedOutError)


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

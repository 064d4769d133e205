"""The senders: a story without end at a steady rate, and for each record the question whether it is answered yet.

At most `UNANSWERED_MAX` records wait for their reply at a time. What Kafka did not acknowledge is sent again under
another correlation id: a sender cannot know whether it stands in the topic, and so it is one more duplicate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.support.commands import Record, odd_batch, publish, serialize_value
from tests.support.replies import header
from tests.support.story import Planned, Story
from tests.support.world import World

TICK_S = 0.2
UNANSWERED_MAX = 10_000
REQUEST_MS = 5_000
"""Short, so that a broken connection of the senders does not count as the worker's recovery."""
CLOSE_S = 5.0
POLL_MS = 100
AGE_MAX_MS = 2_000
RECORD_BYTES_MAX = 2**20


class Load:
    """What is sent and answered. `planned` has, by correlation id, the codes of what must be refused at once."""

    def __init__(self, world: World, story: Story, rate: int) -> None:
        self.planned: dict[bytes, str | None] = {}
        self.unanswered: dict[int, tuple[int, int] | None] = {}
        """By number, in the order they were sent: where each record stands, None as long as that is not known."""
        self.sent = 0
        self.newest_answered = 0
        self._world, self._story, self._rate = world, story, rate
        self._again: list[Planned] = []
        self._paused, self._over = asyncio.Event(), asyncio.Event()
        self._producing = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    @property
    def wallets(self) -> list[str]:
        """The wallets that the story is about."""
        return self._story.wallets

    async def open_wallets(self) -> None:
        """Begin the story."""
        await self.send(self._story.beginning)

    async def run(self) -> None:
        """Go on with the story until `finish`."""
        due, per_tick = time.monotonic(), max(1, round(self._rate * TICK_S))
        while not self._over.is_set():
            due = max(due + TICK_S, time.monotonic() - TICK_S)
            await asyncio.sleep(due - time.monotonic())
            if len(self.unanswered) < UNANSWERED_MAX and not self._paused.is_set():
                await self.send(self._take(per_tick))

    async def send(self, told: Sequence[Planned]) -> None:
        """Publish records; those that are not acknowledged are told again later."""
        numbers = range(self.sent + 1, self.sent + len(told) + 1)
        self.sent += len(told)
        for number, one in zip(numbers, told, strict=True):
            self.unanswered[number] = None
            if one.code is not None:
                self.planned[b"%d" % number] = one.code
        records = [_numbered(one.record, number) for one, number in zip(told, numbers, strict=True)]
        try:
            async with self._producing:
                stand = await publish(await self._started(), self._world.command_topic, records)
        except KafkaError:
            self._again += told
            for number in numbers:
                self.unanswered.pop(number, None)
            await self.close()
        else:
            for number, where in zip(numbers, stand, strict=True):
                if number in self.unanswered:
                    self.unanswered[number] = where.partition, where.offset

    async def send_badly_named(self, record: Record, partition: int) -> None:
        """Publish a record to that partition, with a header besides whose name is not UTF-8."""
        self.sent += 1
        number, numbered = self.sent, _numbered(record, self.sent)
        self.unanswered[number] = None
        try:
            async with self._producing:
                producer = await self._started()
                batch = odd_batch(producer, numbered)
                where = await (await producer.send_batch(batch, self._world.command_topic, partition=partition))
        except KafkaError:
            self._again.append(Planned(record))
            self.unanswered.pop(number, None)
            await self.close()
        else:
            if number in self.unanswered:
                self.unanswered[number] = where.partition, where.offset

    def unanswered_up_to(self, number: int) -> int:
        """How many records up to this number wait for their reply."""
        return sum(one <= number for one in self.unanswered)

    def finish(self) -> None:
        """Let `run` end between two volleys: of one that is broken off, nobody knows what was sent."""
        self._over.set()

    async def tell_again(self) -> None:
        """Send what Kafka did not acknowledge; nothing new."""
        while self._again:
            await self.send(self._take(len(self._again)))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Send nothing inside the block, which begins once everything is answered."""
        self._paused.set()
        try:
            while self.unanswered:  # noqa: ASYNC110 - `hear` empties it
                await asyncio.sleep(TICK_S)
            yield
        finally:
            self._paused.clear()

    async def close(self) -> None:
        """Let go of the producer; the next one asks anew which partitions there are."""
        async with self._producing:
            producer, self._producer = self._producer, None
            if producer is not None:
                # With its broker gone it would wait for long.
                stopping = asyncio.create_task(producer.stop())
                await asyncio.wait({stopping}, timeout=CLOSE_S)
                if stopping.done():
                    with suppress(KafkaError):
                        stopping.result()

    async def hear(self, replies: AIOKafkaConsumer) -> None:
        """Read the replies until it is cancelled."""
        while True:
            for records in (await replies.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    number = int(header(record, "correlation_id") or 0)
                    self.unanswered.pop(number, None)
                    self.newest_answered = max(self.newest_answered, number)

    def _take(self, count: int) -> list[Planned]:
        again, self._again = self._again[:count], self._again[count:]
        return again or self._story.go_on(count)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._world.bootstrap_servers,
                acks="all",
                request_timeout_ms=REQUEST_MS,
                max_request_size=2 * RECORD_BYTES_MAX,
                value_serializer=serialize_value,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


@asynccontextmanager
async def open_replies(world: World) -> AsyncIterator[AIOKafkaConsumer]:
    """Read the reply topic from its beginning."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap_servers,
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=AGE_MAX_MS,
        fetch_max_wait_ms=POLL_MS,
    )
    async with consumer:
        ids = [TopicPartition(world.reply_topic, partition) for partition in range(world.partitions)]
        consumer.assign(ids)
        await consumer.seek_to_beginning(*ids)
        yield consumer


def _numbered(record: Record, number: int) -> Record:
    return Record(record.key, record.value, (*record.headers, ("correlation_id", b"%d" % number)), record.partition)

"""The load: commands published in big batches encoded beforehand, their replies counted as they come.

It shares the machine with what it measures, so it does as little as it can: of a reply only the headers are looked at.
Every command is accounted for: a reply that is missing, unexpected, one too many or a rejection ends the measurement
with a `LoadError`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.commands import Command

COMMAND_TOPIC = "wallet.commands"
REPLY_TOPIC = "wallet.replies"
BATCH_BYTES = 256 * 1024
FETCH_WAIT_MS = 20
FETCH_BYTES_MIN = 64 * 1024
"""Replies are fetched in bigger pieces than come by themselves; the last one waits for `FETCH_WAIT_MS` at most."""
REPLIES_AT_ONCE = 5000
STALLED_S = 60.0


class LoadError(Exception):
    """The commands did not all get the replies that they should have."""


class Timing(NamedTuple):
    """A run: seconds from the first publish to the last reply, and CPU seconds of the load itself."""

    seconds: float
    cpu_seconds: float


class Load:
    """A producer and a consumer of replies, kept open from run to run."""

    def __init__(self, producer: AIOKafkaProducer, replies: Replies, topic: str, partitions: int) -> None:
        self._producer, self._replies, self._topic, self._partitions = producer, replies, topic, partitions

    async def run(self, commands: Sequence[Command]) -> Timing:
        """Publish `commands`, and wait until each record has its reply; LoadError where one has none or a wrong one."""
        batches = list(self._batches(commands))
        waiting = Waiting(commands)
        await self._replies.skip()
        cpu_before, began = time.process_time(), time.perf_counter()
        await together(self._publish(batches), self._collect(waiting))
        return Timing(time.perf_counter() - began, time.process_time() - cpu_before)

    def _batches(self, commands: Sequence[Command]) -> Iterator[tuple[int, BatchBuilder]]:
        """The encoded batches with their partitions: the first of each partition, the second of each, and so on."""
        of_partition: dict[int, list[BatchBuilder]] = defaultdict(list)
        for command in commands:
            batches = of_partition[partition_of(command.key, self._partitions)]
            if not batches or not _append(batches[-1], command):
                batches.append(self._producer.create_batch())
                _append(batches[-1], command)
        for batch in chain.from_iterable(of_partition.values()):
            batch.close()
        turns = zip_longest(*([(partition, batch) for batch in batches] for partition, batches in of_partition.items()))
        return (placed for turn in turns for placed in turn if placed is not None)

    async def _publish(self, batches: Sequence[tuple[int, BatchBuilder]]) -> None:
        sent = [await self._producer.send_batch(batch, self._topic, partition=place) for place, batch in batches]
        await asyncio.gather(*sent)

    async def _collect(self, waiting: Waiting) -> None:
        while waiting:
            for record in await self._replies.take(waiting):
                waiting.account_for(record)


class Waiting:
    """The commands that wait for replies, as many each as records were published of it."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._left = Counter(command.id for command in commands)

    def __len__(self) -> int:
        return len(self._left)

    def account_for(self, record: ConsumerRecord) -> bytes:
        """Take a reply into account and return its command's id; LoadError where it is not one to come."""
        found = dict(record.headers)
        command_id, status = found["command_id"], found["status"]
        left = self._left.get(command_id, 0)
        if status != b"accepted" or not left:
            raise LoadError(f"{command_id.decode()} was answered {status.decode()}; expected: once a record, accepted")
        if left == 1:
            del self._left[command_id]
        else:
            self._left[command_id] = left - 1
        return command_id


class Replies:
    """The reply topic."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def skip(self) -> None:
        """Pass over what is there: the replies to another load's commands."""
        await self._consumer.seek_to_end()

    async def take(self, waiting: Waiting) -> list[ConsumerRecord]:
        """The next replies, as soon as there are some; LoadError where none comes for `STALLED_S`."""
        async with asyncio.timeout(STALLED_S) as patience:
            polled = await self._consumer.getmany(timeout_ms=int(STALLED_S * 1000), max_records=REPLIES_AT_ONCE)
        if patience.expired() or not polled:
            raise LoadError(f"no reply for {STALLED_S:.0f} s; {len(waiting)} commands wait")
        return list(chain.from_iterable(polled.values()))


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run all of `work` at once and return the results; the first error ends the others, and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own clients choose for this key."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _append(batch: BatchBuilder, command: Command) -> bool:
    return batch.append(timestamp=None, key=command.key, value=command.value) is not None


@asynccontextmanager
async def open_load(bootstrap_servers: str, topic: str = COMMAND_TOPIC) -> AsyncIterator[Load]:
    """Connect; the worker must have made its topics."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=BATCH_BYTES)
    async with producer, open_replies(producer, bootstrap_servers, FETCH_BYTES_MIN) as replies:
        yield Load(producer, replies, topic, len(await producer.partitions_for(topic)))


@asynccontextmanager
async def open_replies(
    producer: AIOKafkaProducer, bootstrap_servers: str, fetch_bytes_min: int
) -> AsyncIterator[Replies]:
    """Read the replies, in pieces of `fetch_bytes_min` where they come fast enough.

    `producer` is asked which partitions there are: a consumer knows them only of topics that it is subscribed to.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        fetch_min_bytes=fetch_bytes_min,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        check_crcs=False,
    )
    async with consumer:
        partitions = await producer.partitions_for(REPLY_TOPIC)
        consumer.assign([TopicPartition(REPLY_TOPIC, partition) for partition in partitions])
        yield Replies(consumer)

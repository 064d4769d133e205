"""The load: records built before the clock starts, published in big batches, their replies counted as they come.

It shares the machine with what it measures, so it does as little as it can: batches are encoded beforehand, and of a
reply only the headers are looked at. Every command is accounted for: a reply that is missing, doubled, unexpected or a
rejection ends the measurement with a `LoadError`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, zip_longest
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

COMMAND_TOPIC = "wallet.commands"
REPLY_TOPIC = "wallet.replies"
BATCH_BYTES = 256 * 1024
FETCH_WAIT_MS = 20
FETCH_BYTES_MIN = 64 * 1024
"""Replies are fetched in bigger pieces than come by themselves; the last one waits for `FETCH_WAIT_MS` at most."""
REPLIES_AT_ONCE = 5000
STALLED_S = 60.0


class LoadError(Exception):
    """The commands did not all get the one reply that they should have."""


class Command(NamedTuple):
    """A command record; `events` is how many events it makes."""

    id: bytes
    key: bytes
    value: bytes
    events: int


class Timing(NamedTuple):
    """A run: seconds from the first publish to the last reply, and CPU seconds of the load itself."""

    seconds: float
    cpu_seconds: float


def new_ids(count: int, chance: random.Random) -> list[str]:
    """Make `count` random UUIDs."""
    return [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


def openings(wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Open each of `wallets`, with more money in it than any run spends."""
    body = '"type":"CreateWallet","walletId":"%s","ownerId":"bench","initialBalance":"1000000000.0000"'
    ids = new_ids(len(wallets), chance)
    return [_command(id_, wallet, body % wallet, 1) for id_, wallet in zip(ids, wallets, strict=True)]


def transfers(count: int, wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Make `count` transfers, each between two of `wallets` that chance chooses."""
    body = '"type":"Transfer","fromWalletId":"%s","toWalletId":"%s","amount":"1.2500"'
    pairs = [tuple(chance.sample(wallets, 2)) for _ in range(count)]
    return [_command(id_, pair[0], body % pair, 2) for id_, pair in zip(new_ids(count, chance), pairs, strict=True)]


def credits_to(count: int, wallet: str, chance: random.Random) -> list[Command]:
    """Make `count` credits to one wallet."""
    body = f'"type":"CreditWallet","walletId":"{wallet}","amount":"1.2500"'
    return [_command(id_, wallet, body, 1) for id_ in new_ids(count, chance)]


def _command(command_id: str, wallet: str, body: str, events: int) -> Command:
    return Command(command_id.encode(), wallet.encode(), f'{{"commandId":"{command_id}",{body}}}'.encode(), events)


class Load:
    """A producer and a consumer of replies, kept open from run to run."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, partitions: int) -> None:
        self._producer, self._consumer, self._partitions = producer, consumer, partitions

    async def run(self, commands: Sequence[Command]) -> Timing:
        """Publish `commands`, and wait until each has its reply; LoadError where one has none, or not the right one."""
        batches = list(self._batches(commands))
        waiting = {command.id for command in commands}
        cpu_before, began = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._publish(batches))
            both.create_task(self._collect(waiting))
        return Timing(time.perf_counter() - began, time.process_time() - cpu_before)

    def _batches(self, commands: Sequence[Command]) -> Iterator[tuple[int, BatchBuilder]]:
        """The encoded batches with their partitions: the first of each partition, the second of each, and so on."""
        of_partition: dict[int, list[BatchBuilder]] = defaultdict(list)
        for command in commands:
            # The partition that Kafka's own clients choose for this key.
            partition = (murmur2(command.key) & 0x7FFFFFFF) % self._partitions
            batches = of_partition[partition]
            if not batches or not _append(batches[-1], command):
                batches.append(self._producer.create_batch())
                _append(batches[-1], command)
        for batch in chain.from_iterable(of_partition.values()):
            batch.close()
        turns = zip_longest(*([(partition, batch) for batch in batches] for partition, batches in of_partition.items()))
        return (placed for turn in turns for placed in turn if placed is not None)

    async def _publish(self, batches: Sequence[tuple[int, BatchBuilder]]) -> None:
        sent = [await self._producer.send_batch(batch, COMMAND_TOPIC, partition=place) for place, batch in batches]
        await asyncio.gather(*sent)

    async def _collect(self, waiting: set[bytes]) -> None:
        while waiting:
            async with asyncio.timeout(STALLED_S) as patience:
                polled = await self._consumer.getmany(timeout_ms=int(STALLED_S * 1000), max_records=REPLIES_AT_ONCE)
            if patience.expired() or not polled:
                raise LoadError(f"no reply for {STALLED_S:.0f} s; {len(waiting)} commands wait")
            for record in chain.from_iterable(polled.values()):
                _account_for(record.headers, waiting)


def _append(batch: BatchBuilder, command: Command) -> bool:
    return batch.append(timestamp=None, key=command.key, value=command.value) is not None


def _account_for(headers: Sequence[tuple[str, bytes]], waiting: set[bytes]) -> None:
    found = dict(headers)
    command_id, status = found["command_id"], found["status"]
    if status != b"accepted" or command_id not in waiting:
        raise LoadError(f"{command_id.decode()} was answered {status.decode()}; expected: once, and accepted")
    waiting.remove(command_id)


@asynccontextmanager
async def open_load(bootstrap_servers: str) -> AsyncIterator[Load]:
    """Connect; the worker must have made its topics. Replies from now on are seen."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=BATCH_BYTES)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        fetch_min_bytes=FETCH_BYTES_MIN,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        check_crcs=False,
    )
    async with producer, consumer:
        partitions = await producer.partitions_for(COMMAND_TOPIC)
        replies = await producer.partitions_for(REPLY_TOPIC)
        consumer.assign([TopicPartition(REPLY_TOPIC, partition) for partition in replies])
        await consumer.seek_to_end()
        yield Load(producer, consumer, len(partitions))

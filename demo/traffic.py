"""Records out, replies in: what an upstream service does, in plain aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from demo.errors import StalledError
from demo.story import Record

COMMAND_TOPIC = "wallet.commands"
REPLY_TOPIC = "wallet.replies"
DEAD_LETTER_TOPIC = "wallet.commands.dlq"
LINGER_MS = 5
BATCH_BYTES = 128 * 1024
POLL_MS = 1000
CLOSE_S = 5.0
PATIENCE_S = 60.0
"""How long nothing may come before the demo gives up."""


class Traffic:
    """An upstream service. `replies` are all that came so far, by correlation id; `look` is called once a second."""

    def __init__(self, producer: AIOKafkaProducer, replies: AIOKafkaConsumer, look: Callable[[], None]) -> None:
        self._producer, self._consumer, self._look = producer, replies, look
        self.replies: defaultdict[bytes, list[ConsumerRecord]] = defaultdict(list)

    async def send(self, records: Sequence[Record], answered: Callable[[int], None]) -> float:
        """Publish `records` in order, wait for a reply to each, and return the seconds from first to last.

        `answered` is told how many of them have been answered.
        """
        began = time.perf_counter()
        publishing = asyncio.create_task(self._publish(records))
        try:
            await self._collect({record.correlation_id for record in records}, answered)
            took = time.perf_counter() - began
            await publishing
        finally:
            publishing.cancel()
        return took

    async def read_to_end(self) -> None:
        """Read on up to where the reply topic ends now: a reply too many would stand there."""
        self._keep(await _read_to_end(self._consumer))

    async def _publish(self, records: Sequence[Record]) -> None:
        sent = [
            await self._producer.send(COMMAND_TOPIC, record.value, record.key, headers=record.headers)
            for record in records
        ]
        await asyncio.gather(*sent)

    async def _collect(self, waiting: set[bytes], answered: Callable[[int], None]) -> None:
        total, last = len(waiting), time.monotonic()
        while waiting:
            polled = await self._consumer.getmany(timeout_ms=POLL_MS)
            if polled:
                last = time.monotonic()
                waiting -= self._keep(record for records in polled.values() for record in records)
            answered(total - len(waiting))
            self._look()
            if time.monotonic() - last > PATIENCE_S:
                missing = f"no reply for {PATIENCE_S:.0f} s; {len(waiting)} of {total} records wait for theirs"
                raise StalledError("worker", missing)

    def _keep(self, replies: Iterable[ConsumerRecord]) -> set[bytes]:
        """Keep `replies`, and return their correlation ids."""
        found = [(dict(reply.headers).get("correlation_id", b""), reply) for reply in replies]
        for correlation_id, reply in found:
            self.replies[correlation_id].append(reply)
        return {correlation_id for correlation_id, _ in found}


@asynccontextmanager
async def open_traffic(bootstrap_servers: str, look: Callable[[], None]) -> AsyncIterator[Traffic]:
    """Connect. The worker must have made its topics; `look` is called once a second."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES
    )
    async with _started(producer), _reader(bootstrap_servers, REPLY_TOPIC) as replies:
        yield Traffic(producer, replies, look)


async def read_dead_letters(bootstrap_servers: str, expected: int) -> list[ConsumerRecord]:
    """Everything in the dead letter topic, once it holds as many as `expected`, or `PATIENCE_S` later.

    The worker sends a record's reply and its dead letter together: the reply may be seen a moment before.
    """
    deadline = time.monotonic() + PATIENCE_S
    async with _reader(bootstrap_servers, DEAD_LETTER_TOPIC) as consumer:
        found = await _read_to_end(consumer)
        while len(found) < expected and time.monotonic() < deadline:
            found += await _read_to_end(consumer)
    return found


@asynccontextmanager
async def _reader(bootstrap_servers: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all of `topic`, from its beginning, without a group."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with _started(consumer):
        while not consumer.assignment():  # noqa: ASYNC110 -- the client tells nobody when it has them
            # Started is not yet assigned: without partitions, everything would look read.
            await asyncio.sleep(POLL_MS / 1000)
        yield consumer


@asynccontextmanager
async def _started(client: AIOKafkaProducer | AIOKafkaConsumer) -> AsyncIterator[None]:
    try:
        await client.start()
        yield
    finally:
        # In a task of its own: with its broker gone, a client would wait for long, and let out its own cancellation.
        await asyncio.wait({asyncio.create_task(client.stop())}, timeout=CLOSE_S)


async def _read_to_end(consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
    ends = await consumer.end_offsets(consumer.assignment())
    found: list[ConsumerRecord] = []
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        polled = await consumer.getmany(timeout_ms=POLL_MS)
        found += [record for records in polled.values() for record in records]
    return found

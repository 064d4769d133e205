"""What stands in a topic, raw: every record from its beginning on, and waiting for the ones that are still to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

import worker.kafka_fetch  # noqa: F401 - for its effect: topics are read by the same lenient reader as the worker's

PATIENCE_S = 45.0
"""How long to wait for a first further record: longer than a dead worker's session lasts in Kafka."""

REFUSED_UNSTORED = frozenset({"InvalidCommand", "InvalidAmount", "ReplyTopicNotAllowed", "IdempotencyConflict"})
"""The codes of replies that are not stored: another record may use the same command id and be answered otherwise."""


class Topic:
    """A topic read from its beginning. `records` are those read so far, by partition in order."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._by_correlation: dict[bytes, list[ConsumerRecord]] = {}
        self.records: list[ConsumerRecord] = []

    def to(self, correlation_id: bytes) -> list[ConsumerRecord]:
        """The records read so far that give back `correlation_id`."""
        return self._by_correlation.get(correlation_id, [])

    async def until(self, enough: Callable[[], object], waited_for: str) -> list[ConsumerRecord]:
        """Read on until `enough()`; fail where nothing more comes for `PATIENCE_S`."""
        while not enough():
            if not await self._read_some(PATIENCE_S):
                raise AssertionError(f"{len(self.records)} records, then nothing more for {PATIENCE_S} s: {waited_for}")
        return self.records

    async def until_answered(self, correlation_ids: Collection[bytes]) -> list[ConsumerRecord]:
        """Read on until each of `correlation_ids` was given back; return the first reply to each, in their order."""
        left = set(correlation_ids)

        def all_answered() -> bool:
            left.difference_update([id_ for id_ in left if id_ in self._by_correlation])
            return not left

        await self.until(all_answered, f"replies to {len(correlation_ids)} records")
        return [self._by_correlation[id_][0] for id_ in correlation_ids]

    async def until_count(self, count: int) -> list[ConsumerRecord]:
        """Read on until there are `count` records."""
        return await self.until(lambda: len(self.records) >= count, f"{count} records")

    async def to_end(self) -> list[ConsumerRecord]:
        """Read on up to where the topic ends now."""
        ends = await self._consumer.end_offsets(self._partitions)
        while any([await self._consumer.position(id_) < end for id_, end in ends.items()]):
            await self._read_some(PATIENCE_S)
        return self.records

    async def _read_some(self, patience_s: float) -> bool:
        found = await self._consumer.getmany(timeout_ms=round(patience_s * 1000))
        for records in found.values():
            for record in records:
                self.records.append(record)
                correlation_id = header(record, "correlation_id")
                if correlation_id is not None:
                    self._by_correlation.setdefault(correlation_id, []).append(record)
        return bool(found)


@asynccontextmanager
async def open_topic(bootstrap_servers: str, name: str, partitions: int) -> AsyncIterator[Topic]:
    """Read the topic `name` from its beginning; it has that many partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, fetch_max_wait_ms=20)
    await consumer.start()
    try:
        ids = [TopicPartition(name, partition) for partition in range(partitions)]
        consumer.assign(ids)
        await consumer.seek_to_beginning(*ids)
        yield Topic(consumer, ids)
    finally:
        await asyncio.shield(consumer.stop())


async def read_topics(*names: str, **connection: Any) -> AsyncIterator[ConsumerRecord]:
    """Every record of some topics up to where they end now, whatever their partitions; none is kept.

    `connection`: what aiokafka's clients are given to reach the brokers.
    """
    how = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    async with AIOKafkaConsumer(*names, **connection, **how) as consumer:
        while not consumer.assignment():  # noqa: ASYNC110 - the client tells nobody when it has them
            await asyncio.sleep(0.01)
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(id_) < end for id_, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in records:
                    yield record


def header(record: ConsumerRecord, name: str) -> bytes | None:
    """The last value of a header, None where there is none."""
    return dict(record.headers).get(name)


def content(record: ConsumerRecord) -> dict[str, Any]:
    """A reply's JSON."""
    loaded = json.loads(record.value)
    assert isinstance(loaded, dict)
    return loaded


def code(record: ConsumerRecord) -> str | None:
    """Why a command was rejected; None where it was accepted."""
    error = content(record).get("error")
    return error["code"] if error else None

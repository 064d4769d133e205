"""A topic from its beginning: its records in the order of their times, whatever partitions they stand in.

Streams: nothing is held but what Kafka sends at a time. Relies on a consumer that has no group, and takes all its
partitions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from worker.cli.output import fail
from worker.cli.reply_topic import partitions_of
from worker.kafka_fetch import find_unreadable

POLL_MS = 500
RECORDS_MAX = 500


async def read_topic(consumer: AIOKafkaConsumer, topic: str, *, follow: bool = False) -> AsyncIterator[ConsumerRecord]:
    """The topic's records up to its present end, the oldest first; with `follow` then those that come."""
    partitions = await partitions_of(consumer, [topic])
    if not partitions:
        fail(f"there is no topic {topic}: `wallex worker` makes its topics when it starts", 1)
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    for partition, start in (await consumer.beginning_offsets(partitions)).items():
        consumer.seek(partition, start)
    async for record in _merge(consumer, ends):
        yield record
    for partition, end in ends.items() if follow else ():
        consumer.seek(partition, end)
        consumer.resume(partition)
    while follow:
        yield await consumer.getone()


async def read_record(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> ConsumerRecord | None:
    """The record at `offset`; None where there is none, or none any more."""
    if partition not in await partitions_of(consumer, [partition.topic]):
        return None
    consumer.assign([partition])
    starts, ends = await consumer.beginning_offsets([partition]), await consumer.end_offsets([partition])
    if not starts[partition] <= offset < ends[partition]:
        return None
    consumer.seek(partition, offset)
    while await consumer.position(partition) <= offset:
        fetched = await consumer.getmany(partition, timeout_ms=POLL_MS, max_records=1)
        _refuse_unreadable(consumer, [partition])
        for record in fetched.get(partition, ()):
            if record.offset == offset:
                return record
    return None


async def _merge(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> AsyncIterator[ConsumerRecord]:
    """What stands before `ends`, in the order of the records' times, as far as each partition keeps to it.

    The next record is the oldest of the partitions' first ones, so each unfinished partition must show one. Partitions
    that have some in hand are paused: memory holds one fetch of each.
    """
    waiting: dict[TopicPartition, deque[ConsumerRecord]] = {partition: deque() for partition in ends}
    while waiting:
        await _fill(consumer, waiting, ends)
        oldest = min((records[0] for records in waiting.values()), key=lambda one: one.timestamp, default=None)
        if oldest is not None:
            waiting[TopicPartition(oldest.topic, oldest.partition)].popleft()
            yield oldest


async def _fill(
    consumer: AIOKafkaConsumer, waiting: dict[TopicPartition, deque[ConsumerRecord]], ends: dict[TopicPartition, int]
) -> None:
    """Fetch until each partition has a record in hand; forget those that have come to their end."""
    while empty := [partition for partition, records in waiting.items() if not records]:
        for partition in empty:
            if await consumer.position(partition) >= ends[partition]:
                del waiting[partition]
                consumer.pause(partition)
        missing = [partition for partition in empty if partition in waiting]
        if not missing:
            return
        fetched = await consumer.getmany(*missing, timeout_ms=POLL_MS, max_records=RECORDS_MAX)
        _refuse_unreadable(consumer, missing)
        for partition, records in fetched.items():
            waiting[partition].extend(record for record in records if record.offset < ends[partition])


def _refuse_unreadable(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
    """End with a line where the next records of a partition cannot be read: they would be waited for in vain."""
    for partition in partitions:
        if (error := find_unreadable(consumer, partition)) is not None:
            fail(f"{partition.topic}, partition {partition.partition} cannot be read further: {error}", 1)

"""Hand records over to aiokafka's producer, and note what became of each: acknowledged, an error, or not known.

A partition's records go as one batch, or as few as their size allows: to hand them over one by one would cost aiokafka
more than the rest of a reply.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import BrokerResponseError, LeaderNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder

from worker.outbox.message import Try
from worker.outbox.partitioner import Partitioner

_Placed = tuple[BatchBuilder, list[Try]]
_partition = Partitioner()


async def send(producer: AIOKafkaProducer, tries: Sequence[Try]) -> None:
    """Send all, then wait for all. What is acknowledged is noted as such also where this is cancelled in between."""
    waiting: list[tuple[list[Try], asyncio.Future[object]]] = []
    try:
        for (topic, partition), batches in (await _batches(producer, tries)).items():
            for batch, own in batches:
                waiting.append((own, await producer.send_batch(batch, topic, partition=partition)))
        await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
    finally:
        for own, future in waiting:
            _note(own, future)
            # Those that nobody waits for any more, after an error: else asyncio complains of what becomes of them.
            future.cancel()


def _note(tries: Sequence[Try], future: asyncio.Future[object]) -> None:
    if future.done() and not future.cancelled():
        error = future.exception()
        for one in tries:
            one.error, one.acknowledged, one.together = error, error is None, len(tries)


async def _batches(producer: AIOKafkaProducer, tries: Sequence[Try]) -> dict[tuple[str, int], list[_Placed]]:
    """The batches of each partition; what has no partition that takes it has its error instead."""
    batches: dict[tuple[str, int], list[_Placed]] = defaultdict(list)
    partitions: dict[str, list[int] | BrokerResponseError] = {}
    asked_anew = False
    for one in tries:
        topic, key = one.message.topic, one.message.key
        if topic not in partitions:
            partitions[topic] = await _partitions(producer, topic)
        found = partitions[topic]
        if isinstance(found, BrokerResponseError):
            one.error, one.together = found, 1
            continue
        led = [partition for partition in found if _is_led(producer, topic, partition)] if key is None else found
        wanted = one.message.partition
        partition = wanted if wanted is not None and wanted in found else _partition(key, found, led)
        if one.may_be_redirected and not _is_led(producer, topic, partition):
            if not asked_anew:
                await producer.client.force_metadata_update()
                asked_anew = True
            if not _is_led(producer, topic, partition):
                # Not handed over: aiokafka would wait for a leader, and what comes behind it would wait with it.
                one.error, one.together = LeaderNotAvailableError(f"partition {partition}"), 1
                continue
        placed = batches[topic, partition]
        if not placed or len(placed[-1][1]) >= one.together_max or not _append(placed[-1], one):
            placed.append((producer.create_batch(), []))
            _append(placed[-1], one)
    return batches


async def _partitions(producer: AIOKafkaProducer, topic: str) -> list[int] | BrokerResponseError:
    try:
        return sorted(await producer.partitions_for(topic))
    except BrokerResponseError as error:
        return error


def _is_led(producer: AIOKafkaProducer, topic: str, partition: int) -> bool:
    """Whether the partition has a leader, as far as the producer knows."""
    return producer.client.cluster.leader_for_partition(TopicPartition(topic, partition)) not in (None, -1)


def _append(placed: _Placed, one: Try) -> bool:
    """Append to a batch, unless it is full."""
    batch, own = placed
    message = one.message
    headers = list(message.headers)
    timestamp = _now_ms() if one.timestamp_ms is None else one.timestamp_ms
    if batch.append(timestamp=timestamp, key=message.key, value=message.value, headers=headers) is None:
        return False
    own.append(one)
    return True


def _now_ms() -> int:
    return round(time.time() * 1000)

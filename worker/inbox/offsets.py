"""Commit offsets, always explicit ones: how far each partition is answered, or that a record is being tried."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from worker.errors import Unavailable
from worker.inbox.partitions import Partition
from worker.retry import until_available

COMMIT_TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


async def commit_answered(consumer: AIOKafkaConsumer, partitions: Iterable[Partition]) -> None:
    """Commit how far those of `partitions` are answered that are still ours."""
    due = {p: offset for p in partitions if p.owned and (offset := p.to_commit) is not None}
    if due and await commit(consumer, {p.id: (offset, p.mark) for p, offset in due.items()}):
        for partition, offset in due.items():
            partition.committed = offset


async def commit(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, tuple[int, str]]) -> bool:
    """Commit `offsets`, each with its metadata, for as long as it takes; False where they are no longer ours.

    A commit that Kafka refuses belongs to an assignment that is over: the next owner runs the records again and repeats
    their replies.
    """

    async def once() -> None:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            raise
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    try:
        await until_available("kafka", once)
    except (CommitFailedError, IllegalStateError) as error:
        log.info("offsets_not_committed", error=f"{type(error).__name__}: {error}")
        return False
    return True

"""How much runs at once: the records of a poll, and parked commands, in batches within bounds.

A command's parts are counted once it is read: however its bytes spell them, no batch has more than `BATCH_PARTS_MAX`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from aiokafka import ConsumerRecord

from worker.contracts.commands import PARTS_MAX
from worker.inbox.decode import Refused
from worker.inbox.parking import Waiting
from worker.inbox.partitions import Partition
from worker.ledger.decide_batch import Received

BATCH_BYTES_MAX = 4 * 1024 * 1024
BATCH_PARTS_MAX = 2_000
"""Commands and parts of groups: a small group may make 200 large events."""

Read = tuple[Partition, ConsumerRecord, Received | Refused]
"""A record, and what it was read as."""


def next_batch(
    left: Sequence[tuple[Partition, deque[ConsumerRecord]]], decode: Callable[[ConsumerRecord], Received | Refused]
) -> list[Read]:
    """Read the next records of all partitions, as many of each as it may have now, within a batch's bounds together."""
    batch: list[Read] = []
    size = parts = 0
    for partition, records in left:
        if not partition.owned:
            continue
        for _ in range(partition.take(len(records))):
            size += len(records[0].value or b"")
            if batch and (size > BATCH_BYTES_MAX or _is_full(parts)):
                return batch
            record = records.popleft()
            read = decode(record)
            parts += _count_parts(read)
            batch.append((partition, record, read))
    return batch


def in_batches(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Parked commands in their order, in batches within the bound on parts."""
    batch: list[Waiting] = []
    parts = 0
    for one in waiting:
        if _is_full(parts):
            yield batch
            batch, parts = [], 0
        parts += _count_parts(one.received)
        batch.append(one)
    if batch:
        yield batch


def _is_full(parts: int) -> bool:
    """Whether a batch has no room for a largest group: how many parts the next record has, only reading it tells."""
    return parts > BATCH_PARTS_MAX - PARTS_MAX


def _count_parts(read: Received | Refused) -> int:
    if isinstance(read, Received) and read.command.type == "Atomic":
        return len(read.command.commands)
    return 1

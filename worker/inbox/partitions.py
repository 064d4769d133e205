"""The partitions that this process owns now, and how far each of them is answered.

A partition that is taken again after a rebalance is a new `Partition`: what still refers to the old one belongs to
another time, and neither runs nor commits. An offset is committed only when every record before it is answered:
records that wait (their wallets are locked, or their stores contradict each other) hold it back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

BATCH_RECORDS_MAX = 500

# The processes that began with the record and did not come back; an earlier release wrote how many they were.
TRYING = re.compile(r"trying (?:(?P<count>\d{1,3})|(?P<names>wallex-\S+(?: wallex-\S+)*))")
STOPPED = "stopped: "
"""What a mark begins with that keeps a partition stopped, whoever owns it, until its offset is set by hand."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Partition:
    """An owned partition.

    `next_offset` is the next record's to be taken. `trying` are the processes that have begun with that record and
    died. `limit` is how many records may be taken at once: the first alone, then ever more, so that a
    record that kills its process is soon alone. `gap` is one that was seen once: the offset that was expected, and the
    one that came. `mark` is the metadata that is committed beside its offset. `stopped_ms` is the oldest Kafka
    timestamp of what stopped it, `taken_from` the offset of the first record that was handed over.
    """

    id: TopicPartition
    next_offset: int
    trying: tuple[str, ...] = ()
    limit: int = 1
    lone: bool = True
    owned: bool = True
    stopped_at: int | None = None
    stopped_why: str = ""
    stopped_ms: int | None = None
    taken_from: int | None = None
    gap: tuple[int, int] | None = None
    answered: int | None = None
    committed: int | None = None
    mark: str = ""
    waiting: set[int] = field(default_factory=set)

    @property
    def grows(self) -> bool:
        """Whether its batches are not at their full size yet: it was taken over just now."""
        return self.limit < BATCH_RECORDS_MAX

    def take(self, count: int) -> int:
        """How many of `count` records may be taken now; the next time twice as many."""
        taken = min(count, self.limit)
        self.limit = min(self.limit * 2, BATCH_RECORDS_MAX)
        return taken

    def stop_at(self, offset: int, why: str = "", timestamp_ms: int | None = None) -> bool:
        """Hold the offset back for good, the first time because of `why`; whether the partition went on until now.

        `timestamp_ms` is when its record was sent; None: not known, now.
        """
        went_on = self.stopped_at is None
        self.stopped_why = self.stopped_why or why
        since_ms = round(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        self.stopped_ms = since_ms if self.stopped_ms is None else min(self.stopped_ms, since_ms)
        self.stopped_at = offset if self.stopped_at is None else min(self.stopped_at, offset)
        return went_on

    def answer(self, offset: int) -> None:
        """The record at `offset` is answered, and so are those before it but for the waiting ones."""
        self.answered = max(self.answered or 0, offset + 1)

    @property
    def to_commit(self) -> int | None:
        """The offset to commit: that of the first record that is not answered. None where nothing is new."""
        if self.answered is None:
            return None
        # Those that wait may be far ahead: batches between them and what is answered are still on their way.
        offset = min([*self._held_back, self.answered])
        return offset if self.committed is None or offset > self.committed else None

    @property
    def _held_back(self) -> list[int]:
        """The offsets of what waits, or is never to be passed."""
        return [*self.waiting] if self.stopped_at is None else [*self.waiting, self.stopped_at]

    def first_unanswered(self, position: int | None) -> int | None:
        """The offset of the first record that is not answered, None where it is not known.

        `position` is the consumer's. It counts where nothing is under way: what it has passed then are no records, but
        what Kafka keeps between them (a transaction's marker).
        """
        answered = self.taken_from if self.answered is None else self.answered
        if answered is None or answered == self.next_offset:
            known = [offset for offset in (position, answered) if offset is not None]
            answered = max(known, default=self.committed)
        return min(self._held_back if answered is None else [*self._held_back, answered], default=None)


def stop_partition(
    consumer: AIOKafkaConsumer,
    partition: Partition,
    offset: int,
    why: str,
    what_to_do: str,
    *,
    timestamp_ms: int | None = None,
) -> None:
    """Keep the offset of a record that must not be passed, take no more from its partition, and say so once.

    `timestamp_ms` is when that record was sent, where it is known.
    """
    if partition.stop_at(offset, why, timestamp_ms) and partition.owned:
        # Suppressed: a partition that is no longer ours is not read by us any more.
        with suppress(IllegalStateError):
            consumer.pause(partition.id)
        log.error("partition_stopped", partition=str(partition.id), offset=offset, why=why, what_to_do=what_to_do)


def stopped_mark(why: str) -> str:
    """The metadata that says that a partition stays stopped, and why."""
    return f"{STOPPED}{why}"


def read_stopped(metadata: str) -> str | None:
    """Why a partition stays stopped, by its committed offset's metadata; None where it does not."""
    return metadata.removeprefix(STOPPED) if metadata.startswith(STOPPED) else None


def trying_mark(processes: Iterable[str]) -> str:
    """The metadata that says that these processes began with the record at a committed offset."""
    return f"trying {' '.join(processes)}"


def read_trying(metadata: str) -> tuple[str, ...]:
    """Which processes began with the record at a committed offset, by that offset's metadata."""
    found = TRYING.fullmatch(metadata)
    if found is None:
        return ()
    return ("unknown",) * int(found["count"]) if found["count"] else tuple(found["names"].split(" "))

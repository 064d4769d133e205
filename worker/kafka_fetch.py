"""How a consumer survives what one of its partitions holds.

aiokafka reads the records of all partitions in one loop. One record that it cannot read raises out of the poll, and
what the loop had read of other partitions by then is thrown away, though their positions have moved past it. Here a
header name that is not UTF-8 is read with replacement characters, and a partition whose records cannot be read at all
(a corrupt batch, a codec that is missing) is paused where it stands; the others go on.

Replaces three names of `aiokafka.consumer.fetcher`, for every consumer of the process.
"""

from __future__ import annotations

import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import IllegalStateError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

# Not structlog's: an upstream service's client brings this module along.
log = logging.getLogger(__name__)


class _LenientText(bytearray):
    """Bytes whose slices are decoded with replacement characters."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _LenientText(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose header names need not be UTF-8. Slower than the compiled one: only for batches that need it."""

    _buffer: Any

    def __iter__(self) -> Any:
        super().__iter__()
        self._buffer = _LenientText(self._buffer)
        return self


class _LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """Fetched bytes, batch by batch, without the batches that end before `offset`."""

    def __init__(self, raw: bytes, offset: int) -> None:
        super().__init__(raw)
        while self.has_next() and _LenientBatch(self._next_slice).next_offset <= offset:
            self._cache_next()

    def next_batch(self) -> _LenientBatch:
        batch = _LenientBatch(self._next_slice)
        self._cache_next()
        return batch


class _KeptRecords:
    """Fetched bytes, read by aiokafka's compiled reader, and kept for another one."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        records = MemoryRecords(raw)
        self.has_next, self.next_batch, self.size_in_bytes = (
            records.has_next,
            records.next_batch,
            records.size_in_bytes,
        )


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """A partition's fetched records; from the first header name that is not UTF-8 on, read by the lenient reader."""

    _records: Any

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except UnicodeDecodeError:
            if isinstance(self._records, _LenientRecords):
                raise
            self._records = _LenientRecords(self._records.raw, self.next_fetch_offset)
            self._records_iterator = self._unpack_records()
            return super().__next__()


class _FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """What was fetched of a partition. What cannot be read pauses the partition, and raises nothing."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: list[Any] = []
        try:
            for record in self._partition_records:
                records.append(record)
                if max_records is not None and len(records) >= max_records:
                    self._update_position()
                    return records
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this partition alone
            if not records:
                self._pause(error)
        self._update_position()
        self._partition_records = None
        return records

    def _pause(self, error: Exception) -> None:
        state = self._assignment.state_value(self._topic_partition)
        state.pause()
        state.unreadable = f"{type(error).__name__}: {error}"
        topic, partition = self._topic_partition
        at = {"topic": topic, "partition": partition, "offset": self._partition_records.next_fetch_offset}
        log.error("partition_unreadable", extra={**at, "error": state.unreadable})


def find_unreadable(consumer: AIOKafkaConsumer, partition: TopicPartition) -> str | None:
    """Why `partition` was paused here; None where it was not, or is not the consumer's."""
    try:
        return getattr(consumer._subscription.subscription.assignment.state_value(partition), "unreadable", None)
    except (IllegalStateError, AttributeError, KeyError):
        return None


fetcher.MemoryRecords = _KeptRecords
fetcher.PartitionRecords = _PartitionRecords
fetcher.FetchResult = _FetchResult

"""What a consumer of this process makes of fetched bytes: every record, and no error that would cost others theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from tests.support.commands import NotUtf8
from worker.kafka_fetch import find_unreadable

PARTITION = TopicPartition("commands", 0)
COUNT = 4


class State:
    """Stands for aiokafka's state of a partition."""

    def __init__(self) -> None:
        self.position, self.paused = 0, False

    def consumed_to(self, position: int) -> None:
        self.position = position

    def pause(self) -> None:
        self.paused = True


def batch(base: int, name: str = "name", codec: int = 0) -> bytearray:
    """The bytes of `COUNT` records from offset `base` on, each with a header `name`."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, False, -1, -1, -1, 2**20)
    for offset in range(COUNT):
        builder.append(offset, timestamp=1, key=b"key", value=b"%d" % (base + offset), headers=[(name, b"\xff")])
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    return raw


def result_of(raw: bytes) -> tuple[Any, State]:
    """Fetched bytes as the fetcher keeps them, and the state of their partition."""
    state = State()
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    records = fetcher.PartitionRecords(
        PARTITION, fetcher.MemoryRecords(raw), [], 0, None, None, True, fetcher.READ_COMMITTED
    )
    return fetcher.FetchResult(PARTITION, assignment=assignment, partition_records=records, backoff=0), state


def consumer_with(state: State) -> Any:
    assignment = SimpleNamespace(state_value=lambda _: state)
    return SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("records_max", [None, 3])
def test_a_header_name_that_is_not_utf_8_is_read_with_replacement_characters(codec, records_max):
    """Every record comes once, in order, before and behind it, compressed or not, whatever one poll takes."""
    raw = bytes(batch(0) + batch(COUNT, NotUtf8("x"), codec) + batch(2 * COUNT))
    result, state = result_of(raw)

    found = []
    while result.has_more():
        found += result.getall(records_max)

    assert [record.offset for record in found] == list(range(3 * COUNT))
    assert [record.value for record in found] == [b"%d" % offset for offset in range(3 * COUNT)]
    assert [record.headers for record in found[COUNT : 2 * COUNT]] == [(("\ufffd\ufffd", b"\xff"),)] * COUNT
    assert (state.position, state.paused) == (3 * COUNT, False)


def test_a_corrupt_batch_pauses_its_partition_and_raises_nothing(caplog):
    """What lies before it is handed out first; then the partition stands, and says why."""
    corrupt = batch(COUNT)
    corrupt[-1] ^= 0xFF
    result, state = result_of(bytes(batch(0) + corrupt))

    found = result.getall()
    assert ([record.offset for record in found], state.position, state.paused) == (list(range(COUNT)), COUNT, False)

    again, state = result_of(bytes(corrupt))
    assert again.getall() == []

    assert state.paused
    assert not again.has_more()
    assert [(line.message, line.topic, line.partition) for line in caplog.records] == [
        ("partition_unreadable", *PARTITION)
    ]
    assert "CorruptRecordException" in (find_unreadable(consumer_with(state), PARTITION) or "")


def test_a_partition_that_can_be_read_is_not_said_to_be_unreadable():
    """Nor one that is not the consumer's."""
    assert find_unreadable(consumer_with(State()), PARTITION) is None
    assert find_unreadable(SimpleNamespace(_subscription=SimpleNamespace(subscription=None)), PARTITION) is None

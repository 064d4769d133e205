"""How much runs at once: a batch holds its bounds, however its records spell what they ask."""

from __future__ import annotations

import json
from collections import deque

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from tests.support.commands import atomic, close_wallet, credit
from tests.support.received import command_record, decode, received
from worker.inbox.batches import BATCH_BYTES_MAX, BATCH_PARTS_MAX, Read, in_batches, next_batch
from worker.inbox.parking import Waiting
from worker.inbox.partitions import BATCH_RECORDS_MAX, Partition
from worker.ledger.decide_batch import Received

WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"
PARTS = 100
GROUPS = 60


def grown() -> Partition:
    return Partition(TopicPartition("wallet.commands", 0), 0, lone=False, limit=BATCH_RECORDS_MAX)


def group(spelling: str) -> bytes:
    return json.dumps(atomic(*[close_wallet(WALLET)] * PARTS)).replace('"type"', spelling).encode()


def batches_of(values: list[bytes]) -> list[list[Read]]:
    left = [(grown(), deque(command_record(value) for value in values))]
    batches = []
    while left[0][1]:
        batches.append(next_batch(left, read))
    return batches


def read(record: ConsumerRecord):
    return decode(record.value)


@pytest.mark.parametrize("spelling", ['"type"', r'"\u0074ype"', r'"t\u0079pe"'])
def test_parts_of_groups_are_counted_however_they_are_spelt(spelling):
    """A batch has at most 2,000 parts, and nothing is lost between batches."""
    batches = batches_of([group(spelling)] * GROUPS)

    assert all(isinstance(found, Received) for batch in batches for _, _, found in batch)
    assert [len(batch) for batch in batches] == [BATCH_PARTS_MAX // PARTS] * (GROUPS * PARTS // BATCH_PARTS_MAX)


def test_a_command_that_only_speaks_of_types_counts_once():
    """The word in a text makes no part: a sender cannot make everybody's batches small."""
    talk = json.dumps(credit(WALLET, metadata={"a": ["type"] * 500})).encode()

    assert [len(batch) for batch in batches_of([talk] * 100)] == [100]


def test_a_batch_has_four_mebibytes_at_most_but_always_one_record():
    """What cannot be read counts by its bytes."""
    half = b"x" * (BATCH_BYTES_MAX // 2)

    assert [len(batch) for batch in batches_of([half, half, half, half * 3, half])] == [2, 1, 1, 1]


def test_nothing_is_taken_of_a_partition_that_is_no_longer_ours():
    """Its records belong to somebody else."""
    partition = grown()
    partition.owned = False

    assert next_batch([(partition, deque([command_record(group('"type"'))]))], read) == []


def test_parked_commands_run_again_within_the_same_bound():
    """They are as many as partitions had in hand; in their order."""
    waiting = [Waiting(grown(), command_record(b""), received(atomic(*[credit(WALLET)] * PARTS))) for _ in range(45)]

    batches = list(in_batches(waiting))

    assert [len(batch) for batch in batches] == [20, 20, 5]
    assert [one for batch in batches for one in batch] == waiting

"""Which records of a poll are to be run: in order, none left out, and none of another log."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from structlog.testing import capture_logs

from tests.support.workers import eventually
from worker.inbox import assignment
from worker.inbox.assignment import Assignment
from worker.inbox.offsets import commit_answered
from worker.inbox.partitions import Partition

ONE, OTHER = TopicPartition("commands", 0), TopicPartition("commands", 1)
NAME, INSTANCE, ALIVE = "wallex-here-1-2", "web-1", "wallex-alive-1-2"
UUID, OTHER_UUID = "0b6d2c1e-4c5f-4a36-9f6e-0d2f6f2b6a55", "5e0c9a51-7e42-4a4c-8f5d-52b9d0a3c1f7"


class Consumer:
    """Stands for aiokafka's consumer: remembers seeks, pauses and commits."""

    def __init__(self) -> None:
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.paused: list[TopicPartition] = []
        self.commits: dict[TopicPartition, tuple[int, str]] = {}
        self.beginning, self.end = 0, 1000
        self.members: list[str] = []
        self._coordinator = SimpleNamespace(member_id=f"{INSTANCE}-{UUID}")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.seeks.append((partition, offset))

    def subscription(self) -> frozenset[str]:
        return frozenset()

    def pause(self, partition: TopicPartition) -> None:
        self.paused.append(partition)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.beginning)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        self.commits |= offsets

    async def describe_consumer_groups(self, groups: list[str]) -> list[Any]:
        """As the admin client has it: of each member its id first."""
        group = (0, groups[0], "Stable", "consumer", "sticky", [(one, "client", "/host") for one in self.members], 0)
        return [SimpleNamespace(groups=[group])]

    async def list_consumer_group_offsets(self, _group: str, partitions: list[TopicPartition]) -> Any:
        """As the admin client has them: those of `partitions` that are committed."""
        return {id_: self.commits[id_] for id_ in partitions if id_ in self.commits}


class Owner:
    """An assignment of two partitions, each to go on at offset 10."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        unused: Any = AsyncMock()
        self.ended: list[Exception] = []
        admin: Any = self.consumer
        self.assignment = Assignment(
            admin,
            "group",
            lambda: self.consumer,
            name=NAME,
            instance_id=INSTANCE,
            find_alive=self.find_alive,
            drained=unused,
            abandon=MagicMock(),
            stop=self.ended.append,
        )
        self.assignment.owned = {id_: Partition(id_, 10, committed=10) for id_ in (ONE, OTHER)}
        self.assignment._settled.set()

    async def find_alive(self, names: Collection[str]) -> frozenset[str]:
        return frozenset(names) & {ALIVE}

    async def take_anew(self) -> dict[TopicPartition, Partition]:
        """The partitions as they are after a rebalance, or in the next process."""
        await self.assignment.on_partitions_revoked({ONE, OTHER})
        await self.assignment.on_partitions_assigned({ONE, OTHER})
        return self.assignment.owned

    async def claim(self, *polled: tuple[TopicPartition, int]) -> list[tuple[TopicPartition, list[int]]]:
        """The partitions and offsets of a poll that are to be run."""
        self.assignment.note_poll()
        claims = await self.assignment.claim([record(*one) for one in polled])
        return [(partition.id, [one.offset for one in records]) for partition, records in claims]


def record(partition: TopicPartition, offset: int) -> ConsumerRecord:
    return ConsumerRecord(*partition, offset, 0, 0, b"key", b"{}", None, 3, 2, ())


@pytest.fixture
async def owner():
    return Owner()


async def test_a_gap_is_not_believed_the_first_time(owner):
    """A poll may have lost what lies between: it is asked for again, and the other partitions go on."""
    assert await owner.claim((ONE, 12), (ONE, 13), (OTHER, 10)) == [(OTHER, [10])]
    assert owner.consumer.seeks == [(ONE, 10)]

    assert await owner.claim((ONE, 10), (ONE, 11), (ONE, 12)) == [(ONE, [10, 11, 12])]


async def test_a_gap_that_comes_again_is_one_of_the_log(owner):
    """Where a transaction ended, Kafka left a marker: no record has its offset."""
    assert await owner.claim((ONE, 11)) == []
    assert await owner.claim((ONE, 11)) == [(ONE, [11])]
    assert owner.consumer.seeks == [(ONE, 10)]

    # Another gap is another question.
    assert await owner.claim((ONE, 15)) == []


async def test_another_gap_at_the_same_offset_is_not_the_one_that_was_seen(owner):
    """What is found after the seek begins elsewhere: asked once more."""
    assert await owner.claim((ONE, 15)) == []
    assert await owner.claim((ONE, 12)) == []
    assert await owner.claim((ONE, 12)) == [(ONE, [12])]


async def test_a_gap_whose_records_were_deleted_stops_its_partition_alone(owner):
    """Commands were deleted unread."""
    owner.consumer.beginning = 11
    await owner.claim((ONE, 11))

    assert await owner.claim((ONE, 11), (OTHER, 10)) == [(OTHER, [10])]
    assert owner.consumer.paused == [ONE]
    assert owner.assignment.owned[ONE].stopped_why == "its records 10 to 10 were deleted before they were read"


async def test_a_partition_whose_log_was_replaced_stays_stopped_whoever_owns_it(owner):
    """By then its log may be as long as it was, so nothing but the mark beside the offset tells."""
    await owner.claim((ONE, 3))
    owner.consumer.commits[OTHER] = 10, ""

    for owned in (await owner.take_anew(), await owner.take_anew()):
        assert owned[ONE].stopped_at == 10
        assert owned[ONE].stopped_why == "its log was replaced: offset 3 came after 9"
        assert (owned[OTHER].stopped_at, owned[OTHER].next_offset) == (None, 10)

    # What is answered of what was under way is committed with the mark.
    owned[ONE].committed = 8
    owned[ONE].answer(8)
    await commit_answered(owner.consumer, [owned[ONE]])
    assert owner.consumer.commits[ONE] == (9, "stopped: its log was replaced: offset 3 came after 9")

    # Kafka's own tool writes no metadata.
    owner.consumer.commits[ONE] = 0, ""
    assert (await owner.take_anew())[ONE].stopped_at is None


@pytest.mark.parametrize(
    ("offset", "why"),
    [
        (4, "its records 4 to 4 were deleted before they were read"),
        (5, ""),
        (12, ""),
        (13, "its log was replaced: it ends at 12, and 13 was committed"),
    ],
)
async def test_an_offset_that_is_not_in_the_log_stops_its_partition_alone(owner, offset, why):
    """Whatever begins there would leave commands out."""
    owner.consumer.beginning, owner.consumer.end = 5, 12
    owner.consumer.commits = {ONE: (offset, ""), OTHER: (7, "trying 2")}

    owned = await owner.take_anew()

    assert owned[ONE].stopped_why == why
    assert (owned[OTHER].next_offset, owned[OTHER].trying, owned[OTHER].stopped_at) == (7, ("unknown",) * 2, None)


async def test_of_the_processes_that_began_with_a_record_the_dead_ones_count(owner):
    """One that lives lost its place in the group, or its commit was refused; so did the one that finds itself."""
    owner.consumer.commits = {ONE: (7, f"trying {ALIVE} wallex-b-1-2 {NAME}"), OTHER: (7, f"trying {NAME}")}

    owned = await owner.take_anew()

    assert (owned[ONE].trying, owned[OTHER].trying) == (("wallex-b-1-2",), ())


@pytest.mark.parametrize(
    ("members", "ends"),
    [
        ([], False),
        ([f"{INSTANCE}-{UUID}"], False),
        ([f"{INSTANCE}-2-{OTHER_UUID}", f"aiokafka-{OTHER_UUID}"], False),
        ([f"{INSTANCE}-{OTHER_UUID}"], True),
    ],
    ids=["gone", "ourselves", "others", "a twin"],
)
async def test_a_process_whose_place_another_one_has_taken_ends_and_does_not_take_it_back(owner, members, ends):
    """Two under one instance id would take their partitions from each other for ever."""
    await owner.take_anew()
    owner.consumer.members = members

    with suppress(asyncio.CancelledError):
        await owner.take_anew()

    assert [f"KAFKA_GROUP_INSTANCE_ID={INSTANCE}" in str(error) for error in owner.ended] == [True] * ends


async def test_the_first_time_it_joins_a_process_takes_the_place_of_the_one_before_it(owner):
    """One that was killed stays in the group until its session runs out."""
    owner.consumer.members = [f"{INSTANCE}-{OTHER_UUID}"]

    await owner.take_anew()

    assert owner.ended == []


async def test_a_partition_without_a_committed_offset_begins_at_its_first_record(owner):
    """So a first poll that fails, or leaves records out, is noticed like any other."""
    owner.consumer.beginning = 4

    await owner.take_anew()

    assert await owner.claim((ONE, 6)) == []
    assert owner.consumer.seeks == [(ONE, 4)]


async def test_an_offset_that_goes_back_stops_its_partition_alone(owner):
    """The log became shorter: what comes now under old offsets are other commands, and nobody may skip them."""
    with capture_logs() as logs:
        assert await owner.claim((ONE, 3), (ONE, 10), (OTHER, 10)) == [(OTHER, [10])]

    assert owner.consumer.paused == [ONE]
    stopped = owner.assignment.owned[ONE]
    assert (stopped.stopped_at, stopped.next_offset) == (10, 10)
    assert [(line["event"], line["offset"]) for line in logs] == [("partition_stopped", 10)]
    assert await owner.claim((ONE, 10), (OTHER, 11)) == [(OTHER, [11])]


async def test_records_of_another_assignment_are_dropped(owner):
    """Fetched before a rebalance, handled after it: they come again from the committed offset."""
    owned = owner.assignment.owned
    owner.assignment.note_poll()
    await owner.assignment.on_partitions_revoked(set(owned))
    owner.assignment.owned = {id_: Partition(id_, 10) for id_ in owned}
    owner.assignment._settled.set()

    assert await owner.assignment.claim([record(ONE, 10)]) == []
    assert owner.assignment.owned[ONE].next_offset == 10
    assert await owner.claim((ONE, 10)) == [(ONE, [10])]


async def test_a_partition_that_cannot_be_read_is_stopped_where_it_stands(owner, monkeypatch):
    """The fetcher has paused it: readiness and the log must say so, too."""
    monkeypatch.setattr(assignment, "LOOK_EVERY_S", 0)
    monkeypatch.setattr(assignment, "find_unreadable", lambda _, partition: "corrupt" if partition == ONE else None)
    watching = asyncio.create_task(owner.assignment.watch())

    await eventually(lambda: owner.consumer.paused, "a partition is paused")
    watching.cancel()

    assert owner.consumer.paused == [ONE]
    assert owner.assignment.owned[ONE].stopped_at == 10
    assert owner.assignment.owned[ONE].stopped_why == "its next records cannot be read: corrupt"
    assert owner.assignment.owned[OTHER].stopped_at is None


async def test_after_a_failed_poll_every_partition_is_read_again_from_what_was_handed_over(owner):
    """What the poll had taken of other partitions went with the exception."""
    await owner.claim((ONE, 10))

    owner.assignment.seek_back()

    assert owner.consumer.seeks == [(ONE, 11), (OTHER, 10)]

"""How far a partition is answered: an offset is committed only when every record before it is."""

from __future__ import annotations

from collections import deque

import pytest
from aiokafka import TopicPartition
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.inbox.partitions import BATCH_RECORDS_MAX, Partition, read_trying, trying_mark

FIRST = 100


def partition(**state) -> Partition:
    return Partition(TopicPartition("wallet.commands", 3), FIRST, **state)


@pytest.mark.parametrize(
    ("state", "offset"),
    [
        ({}, None),
        ({"committed": 100}, None),
        ({"answered": 101}, 101),
        ({"answered": 101, "committed": 100}, 101),
        ({"answered": 101, "committed": 101}, None),
        ({"answered": 101, "committed": 102}, None),
        ({"answered": 110, "waiting": {104}}, 104),
        ({"answered": 110, "waiting": {107, 104, 109}}, 104),
        ({"answered": 110, "waiting": {104}, "committed": 104}, None),
        ({"answered": 110, "waiting": {115}}, 110),
        ({"answered": 110, "waiting": {115}, "committed": 110}, None),
        ({"answered": 110, "stopped_at": 115}, 110),
        ({"answered": 110, "stopped_at": 105}, 105),
        ({"answered": 110, "stopped_at": 105, "waiting": {104}}, 104),
        ({"answered": 110, "stopped_at": 104, "waiting": {105}}, 104),
        ({"answered": 110, "stopped_at": 105, "committed": 105}, None),
        ({"waiting": {100}}, None),
        ({"answered": 1, "waiting": {0}}, 0),
    ],
)
def test_what_is_committed_is_the_first_record_that_is_not_answered(state, offset):
    """None where nothing is new; offset 0 is an offset."""
    assert partition(**state).to_commit == offset


@pytest.mark.parametrize(
    ("state", "position", "offset"),
    [
        ({}, None, None),
        ({"committed": 100}, None, 100),
        ({}, 100, 100),
        ({"committed": 100}, 105, 105),
        ({"committed": 100, "taken_from": 100, "next_offset": 103}, 103, 100),
        ({"taken_from": 100, "next_offset": 103}, 103, 100),
        ({"taken_from": 100, "answered": 102, "next_offset": 103}, 103, 102),
        ({"taken_from": 100, "answered": 103, "next_offset": 103}, 104, 104),
        ({"taken_from": 100, "answered": 103, "next_offset": 103}, None, 103),
        ({"taken_from": 100, "answered": 103, "next_offset": 103, "waiting": {101}}, 104, 101),
        ({"taken_from": 100, "answered": 103, "next_offset": 103, "stopped_at": 101}, 104, 101),
        ({"stopped_at": 100}, 100, 100),
    ],
)
def test_the_lag_counts_from_the_first_record_that_is_not_answered(state, position, offset):
    """The consumer's position counts only where nothing is under way: it has passed transaction markers by then."""
    assert (
        Partition(TopicPartition("commands", 0), **{"next_offset": None} | state).first_unanswered(position) == offset
    )


def test_answers_are_counted_up_to_the_highest():
    """A record that had waited is answered after later ones."""
    taken = partition()

    for offset in (103, 100, 102):
        taken.answer(offset)

    assert taken.answered == 104


def test_a_partition_stops_once_at_its_first_contradiction():
    """Only the first is news; the lowest offset is held back."""
    taken = partition()

    news = [taken.stop_at(offset) for offset in (107, 105, 106)]

    assert news == [True, False, False]
    assert taken.stopped_at == 105


def test_batches_grow_from_one_record():
    """A record that kills its process is soon alone; what there is less of does not slow the growth."""
    taken = partition()

    counts = [taken.take(10_000) for _ in range(12)]
    slow = partition()
    few = [slow.take(1) for _ in range(3)]

    assert counts == [1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500]
    assert max(counts) == BATCH_RECORDS_MAX
    assert few == [1, 1, 1]
    assert slow.take(100) == 8


@pytest.mark.parametrize(
    ("metadata", "processes"),
    [
        ("", ()),
        ("trying wallex-a-1-2", ("wallex-a-1-2",)),
        ("trying wallex-a-1-2 wallex-b-1-2", ("wallex-a-1-2", "wallex-b-1-2")),
        ("trying 1", ("unknown",)),
        ("trying 3", ("unknown",) * 3),
        ("trying", ()),
        ("trying x", ()),
        ("trying wallex-a-1-2 x", ()),
        ("trying wallex-a-1-2\n", ()),
        ("trying 1\n", ()),
        ("trying -1", ()),
        ("trying 1000", ()),
        ("by hand", ()),
    ],
)
def test_only_our_own_mark_beside_an_offset_counts(metadata, processes):
    """Other tools write metadata as well; an earlier release wrote a number."""
    assert read_trying(metadata) == processes


def test_a_mark_that_is_written_is_read_again():
    """With the names of all processes, in their order."""
    processes = ("wallex-web-1.local-7-1764592000123", "wallex-b-1-2")

    assert read_trying(trying_mark(processes)) == processes


class Answering(RuleBasedStateMachine):
    """Records are decided in order and answered some batches later; some wait until then, some are never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.partition = partition(committed=FIRST)
        self.next = FIRST
        self.on_their_way: deque[list[tuple[int, str]]] = deque()
        self.answered: set[int] = set()
        self.committed = FIRST

    @rule(outcomes=st.lists(st.sampled_from(["answered", "waits", "contradicts"]), min_size=1, max_size=6))
    def decide(self, outcomes) -> None:
        """Those that wait are set aside at once; the others are on their way."""
        batch = list(enumerate(outcomes, self.next))
        self.next += len(batch)
        self.partition.waiting.update(offset for offset, outcome in batch if outcome == "waits")
        self.on_their_way.append([(offset, outcome) for offset, outcome in batch if outcome != "waits"])

    @precondition(lambda self: self.can_run())
    @rule(data=st.data())
    def run_waiting(self, data) -> None:
        """One that waited ran, and follows those that are on their way."""
        self.on_their_way.append([(data.draw(st.sampled_from(self.can_run())), "waited")])

    @precondition(lambda self: self.on_their_way)
    @rule()
    def answer(self) -> None:
        """The first batch on its way is answered; what had waited no longer waits after that, and not before."""
        batch = self.on_their_way.popleft()
        for offset, outcome in batch:
            if outcome == "contradicts":
                self.partition.stop_at(offset)
        for offset, outcome in batch:
            self.partition.answer(offset)
            if outcome == "answered":
                self.answered.add(offset)
        for offset, outcome in batch:
            if outcome == "waited":
                self.check()
                self.answered.add(offset)
                self.partition.waiting.discard(offset)

    def can_run(self) -> list[int]:
        """Those that wait and have not run."""
        ran = {offset for batch in self.on_their_way for offset, outcome in batch if outcome == "waited"}
        return sorted(self.partition.waiting - ran)

    @rule()
    def commit(self) -> None:
        """What is to be committed is committed."""
        offset = self.partition.to_commit
        if offset is not None:
            assert offset > self.committed
            self.committed = self.partition.committed = offset

    @invariant()
    def check(self) -> None:
        """Nothing before the offset is unanswered, and the offset is not behind what is answered without a gap."""
        offset = self.partition.to_commit or self.committed
        assert all(before in self.answered for before in range(FIRST, offset))
        assert offset == min(set(range(FIRST, self.next + 1)) - self.answered)


TestAnswering = Answering.TestCase

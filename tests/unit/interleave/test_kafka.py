"""Kafka in memory keeps the rules that the worker relies on."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from interleave.kafka import REBALANCE_S, Kafka
from interleave.loop import VirtualLoop

ZERO, ONE = TopicPartition("commands", 0), TopicPartition("commands", 1)


class Member:
    """What the group needs of a consumer."""

    def __init__(self, instance: str = "") -> None:
        self.instance = instance
        self.member = self.generation = 0
        self.shared: set[TopicPartition] = set()
        self.has_notice = False

    def notice(self) -> None:
        self.has_notice = True

    def settle(self) -> None:
        self.has_notice = False


@pytest.fixture
def kafka():
    loop = VirtualLoop()
    yield Kafka(loop, 2, (1,), lambda _id, _offset: None)
    loop.close()


def commit(kafka: Kafka, member: Member, offset: int) -> None:
    kafka.group.commit(member.member, member.generation, {ZERO: (offset, "")})


def test_a_member_that_joins_has_all_others_join_anew(kafka):
    """Nobody has a share before the last one has asked; until then the old generation may commit."""
    first, second = Member(), Member()
    alone = kafka.group.join(first)

    waits = kafka.group.join(second)
    commit(kafka, first, 1)

    assert alone.result() == {ZERO, ONE}
    assert first.has_notice
    assert not waits.done()
    shares = kafka.group.join(first).result(), waits.result()
    assert sorted(shares[0] | shares[1]) == [ZERO, ONE]
    assert not first.has_notice
    assert kafka.group.committed == {ZERO: (1, "")}


def test_who_is_lost_commits_no_more(kafka):
    """Nor does a generation that is over, whoever is in it."""
    first, second = Member(), Member()
    kafka.group.join(first)
    kafka.group.join(second)
    kafka.group.join(first)
    old = first.generation

    kafka.group.lose(second)
    kafka.group.join(first)

    assert first.shared == {ZERO, ONE}
    for member, generation in ((second.member, second.generation), (first.member, old)):
        with pytest.raises(CommitFailedError):
            kafka.group.commit(member, generation, {ZERO: (1, "")})


def test_a_static_member_takes_its_share_over_at_once(kafka):
    """Its former self is fenced, and nobody else hears of it."""
    former, other, back = Member("a"), Member("b"), Member("a")
    kafka.group.join(former)
    kafka.group.join(other)
    kafka.group.join(former)

    share = kafka.group.join(back).result()

    assert share == former.shared
    assert not other.has_notice
    commit(kafka, back, 1)
    with pytest.raises(CommitFailedError):
        commit(kafka, former, 1)


def test_who_does_not_join_in_time_is_left_out(kafka):
    """A rebalance waits for a frozen member no longer than its limit."""
    frozen, other = Member(), Member()
    kafka.group.join(frozen)
    joined = kafka.group.join(other)

    kafka.loop.advance()
    kafka.loop.call_soon(kafka.loop.stop)
    kafka.loop.run_forever()

    assert kafka.loop.time() == REBALANCE_S
    assert joined.result() == {ZERO, ONE}


def test_a_gap_is_no_record(kafka):
    """All is answered once what is committed has only gaps behind it."""
    log = kafka.topics["commands"][0]
    log.add(b"k", b"v", (), 0)
    log.skip()
    member = Member()
    kafka.group.join(member)

    assert not kafka.is_answered()
    commit(kafka, member, 1)

    assert kafka.is_answered()
    assert [entry and entry.offset for entry in log.entries] == [0, None]

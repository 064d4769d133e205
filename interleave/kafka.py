"""Kafka as a log in memory, with the same rules: offsets, gaps, a group with its generations, fenced members.

A member that is gone is noticed after its session; then, and whenever somebody joins, all members give back what they
have and join anew. A static member that comes back takes its partitions over at once, and who had its name is fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from interleave.loop import VirtualLoop

if TYPE_CHECKING:
    from interleave.clients import Consumer

SESSION_S = 15.0
REBALANCE_S = 60.0

Headers = tuple[tuple[str, bytes | None], ...]
Offset = tuple[int, str]


@dataclass
class Log:
    """A partition: None is a place that Kafka keeps for itself, such as a transaction's marker."""

    id: TopicPartition
    entries: list[ConsumerRecord | None] = field(default_factory=list)

    def add(self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int) -> ConsumerRecord:
        """Append a record."""
        offset, (topic, partition) = len(self.entries), self.id
        record = ConsumerRecord(
            topic, partition, offset, timestamp_ms, 0, key, value, None, len(key or b""), len(value or b""), headers
        )
        self.entries.append(record)
        return record

    def skip(self) -> None:
        """Leave a gap."""
        self.entries.append(None)


@dataclass
class Kafka:
    """The topics, and the one group.

    `poll_sizes` says how many records of a partition each poll gets, again and again. `check_commit` is told each
    offset that is committed.
    """

    loop: VirtualLoop
    partitions: int
    poll_sizes: Sequence[int]
    check_commit: Callable[[TopicPartition, int], None]
    topics: dict[str, list[Log]] = field(default_factory=dict)
    lost: set[tuple[TopicPartition, int]] = field(default_factory=set)
    """What a poll lost once."""

    def __post_init__(self) -> None:
        for topic, count in (("commands", self.partitions), ("replies", 1), ("dlq", 1)):
            self.topics[topic] = [Log(TopicPartition(topic, number)) for number in range(count)]
        self.group = Group(self)
        self._poll_sizes = cycle(self.poll_sizes)

    def next_poll_size(self) -> int:
        """How many records of a partition the next poll gets."""
        return next(self._poll_sizes)

    def log(self, id_: TopicPartition) -> Log:
        """A partition."""
        return self.topics[id_.topic][id_.partition]

    def is_answered(self) -> bool:
        """Whether the group has committed all commands, up to what is no record."""
        return all(
            not any(log.entries[self.group.committed.get(log.id, (0, ""))[0] :]) for log in self.topics["commands"]
        )


class Group:
    """The consumer group, as its coordinator has it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self.generation = 0
        self.committed: dict[TopicPartition, Offset] = {}
        self._members: dict[int, Consumer] = {}
        self._joined: dict[int, asyncio.Future[set[TopicPartition]]] = {}
        self._numbers = 0
        self._limit: asyncio.TimerHandle | None = None
        self._is_preparing = False

    def join(self, consumer: Consumer) -> asyncio.Future[set[TopicPartition]]:
        """Ask for a share; the future gives it once all members have asked."""
        joined: asyncio.Future[set[TopicPartition]] = self._kafka.loop.create_future()
        if self._members.get(consumer.member) is not consumer:
            twin = next((m for m in self._members.values() if m.instance and m.instance == consumer.instance), None)
            self._numbers += 1
            if twin is not None and not self._is_preparing:
                # It takes over what its former self had, without a rebalance.
                del self._members[twin.member]
                consumer.member, consumer.generation = self._numbers, self.generation
                self._members[consumer.member] = consumer
                joined.set_result(twin.shared)
                consumer.shared = twin.shared
                return joined
            if twin is not None:
                self._drop(twin)
            consumer.member = self._numbers
            self._members[consumer.member] = consumer
        self._joined[consumer.member] = joined
        self.prepare()
        self._complete()
        return joined

    def prepare(self) -> None:
        """Have all members join anew."""
        if not self._is_preparing:
            self._is_preparing = True
            self._limit = self._kafka.loop.call_later(REBALANCE_S, self._drop_late)
            for number, member in self._members.items():
                if number not in self._joined:
                    member.notice()

    def lose(self, consumer: Consumer) -> None:
        """Its session is over, whatever it still does."""
        if self._members.get(consumer.member) is consumer:
            self._drop(consumer)
            self.prepare()
            self._complete()

    def commit(self, member: int, generation: int, offsets: Mapping[TopicPartition, Offset]) -> None:
        """Commit, or raise `CommitFailedError` where the member is fenced or its generation over."""
        if member not in self._members or generation != self.generation:
            raise CommitFailedError("the generation is over")
        for id_, (offset, metadata) in offsets.items():
            self._kafka.check_commit(id_, offset)
            self.committed[id_] = offset, metadata

    def _drop_late(self) -> None:
        for member in [one for number, one in self._members.items() if number not in self._joined]:
            self._drop(member)
        self._complete()

    def _drop(self, member: Consumer) -> None:
        del self._members[member.member]
        joined = self._joined.pop(member.member, None)
        if joined is not None and not joined.done():
            joined.set_result(set())
        member.notice()

    def _complete(self) -> None:
        if not self._is_preparing or not self._joined or self._joined.keys() != self._members.keys():
            return
        self._is_preparing = False
        if self._limit is not None:
            self._limit.cancel()
        self.generation += 1
        joined, self._joined = self._joined, {}
        # Another order each time, so that partitions move.
        order = sorted(joined)
        turn = self.generation % len(order)
        shares = _share([log.id for log in self._kafka.topics["commands"]], order[turn:] + order[:turn])
        for number, future in joined.items():
            member = self._members[number]
            member.generation, member.shared = self.generation, shares[number]
            member.settle()
            if not future.done():
                future.set_result(shares[number])


def _share(partitions: Iterable[TopicPartition], members: list[int]) -> dict[int, set[TopicPartition]]:
    shares: dict[int, set[TopicPartition]] = {member: set() for member in members}
    for place, id_ in enumerate(partitions):
        shares[members[place % len(members)]].add(id_)
    return shares

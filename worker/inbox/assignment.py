"""Take over and give back partitions, and say which records of a poll are to be run.

What aiokafka tells its listener is turned into `Partition`s. FastStream hands over records that may be of another time:
fetched before a rebalance, handled after it. Such records are dropped here, and come again from the committed offset.
A gap in a partition is legal only where Kafka left one (a transaction's marker). A partition whose records were deleted
before they were read, or whose log was replaced by a shorter one, is stopped until its offset is set by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from itertools import groupby

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError

from worker.errors import Unavailable
from worker.inbox.offsets import commit
from worker.inbox.partitions import Partition, read_stopped, read_trying, stop_partition, stopped_mark
from worker.inbox.twin import has_twin, twin_error
from worker.kafka import find_member_id, share_out_anew
from worker.kafka_fetch import find_unreadable
from worker.retry import until_available

LOOK_EVERY_S = 1.0
DRAIN_TIMEOUT_S = 20.0
"""How long a rebalance is held up so that what is in flight is answered by the worker that began it."""
WHEN_RECORDS_ARE_LOST = "see what was lost, stop the workers, set the group's offset of this partition, start them"

log = structlog.get_logger(__name__)

Claim = tuple[Partition, list[ConsumerRecord]]
Offsets = tuple[int, str, int, int]
"""Of a partition: the one that is committed (-1 for none) and its metadata, its first one, and its end."""


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """The partitions of this process.

    `name` is the process's own; `instance_id` is its `KAFKA_GROUP_INSTANCE_ID`, if it has one;
    `find_alive` says which processes of given names live.
    `drained` waits until nothing is in flight, `abandon` drops what is still being run, `stop` ends the process.
    """

    def __init__(
        self,
        admin: AIOKafkaAdminClient,
        group_id: str,
        consumer: Callable[[], AIOKafkaConsumer],
        *,
        name: str,
        instance_id: str | None,
        find_alive: Callable[[Collection[str]], Awaitable[frozenset[str]]],
        drained: Callable[[], Awaitable[None]],
        abandon: Callable[[], None],
        stop: Callable[[Exception], None],
    ) -> None:
        self._admin = admin
        self._group_id = group_id
        self._consumer = consumer
        self._name, self._instance_id, self._find_alive = name, instance_id, find_alive
        self._member_id = ""
        self._drained = drained
        self._abandon = abandon
        self._end = stop
        self._settled = asyncio.Event()
        self._shared_out: dict[str, int] = {}
        self._number = self._polled_in = 0
        self.owned: dict[TopicPartition, Partition] = {}

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let what is in flight be answered, then forget the partitions (aiokafka always revokes all)."""
        self._settled.clear()
        self._number += 1
        await self._end_beside_twin()
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._drained()
        except TimeoutError:
            log.warning("revoked_in_flight", why="not answered in time: the next owner runs these records again")
        self._abandon()
        for partition in self.owned.values():
            partition.owned = False
        if self.owned:
            log.info("partitions_revoked", partitions=_names(self.owned))
        self.owned = {}

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Find out how far each partition is answered."""
        self._member_id = find_member_id(self._consumer())
        # What the leader noticed by itself needs no second rebalance.
        self._shared_out = self._partitions()
        try:
            found = await until_available("kafka", lambda: self._find_offsets(assigned))
            alive = await self._alive({name for _, metadata, *_ in found.values() for name in read_trying(metadata)})
            self.owned = {id_: self._take(id_, one, alive) for id_, one in found.items()}
            log.info("partitions_assigned", partitions=_names(self.owned))
            for partition in self.owned.values():
                await self._keep_stopped(partition)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on without us
            self._end(error)
        self._settled.set()

    async def _end_beside_twin(self) -> None:
        """End the process where another one has taken its place in the group, under its own instance id."""
        if not self._member_id or self._instance_id is None:
            return
        if await has_twin(self._admin, self._group_id, self._instance_id, self._member_id):
            self._end(twin_error(self._instance_id))
            # It ends aiokafka's task, which would join the group again now and take the place back.
            raise asyncio.CancelledError

    async def watch(self) -> None:
        """Have the partitions shared out anew whenever a topic gets more of them, for ever.

        A group's leader does so by itself, in aiokafka as elsewhere. But one that comes back under its
        `KAFKA_GROUP_INSTANCE_ID` is the leader without being told (KIP-814), and then nobody would.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._stop_unreadable()
            before, self._shared_out = self._shared_out, self._partitions()
            if any(count > before.get(topic, count) for topic, count in self._shared_out.items()):
                log.info("partitions_added", topics=self._shared_out)
                share_out_anew(self._consumer())

    def _partitions(self) -> dict[str, int]:
        """How many partitions each topic has, as far as the consumer knows: it asks every few seconds."""
        consumer = self._consumer()
        # FastStream makes it after the process has begun, and lets go of it before the end.
        known = {} if consumer is None else {t: consumer.partitions_for_topic(t) for t in consumer.subscription()}
        return {topic: len(partitions) for topic, partitions in known.items() if partitions}

    def note_poll(self) -> None:
        """A poll ended just now: its records belong to the assignment of this moment."""
        self._polled_in = self._number

    def seek_back(self) -> None:
        """Read each partition again from what was handed over last: a poll failed, and may have lost records."""
        for partition in self.owned.values():
            self._seek(partition, partition.next_offset)

    async def claim(self, records: Iterable[ConsumerRecord]) -> list[Claim]:
        """Which of a poll's `records` are to be run, by partition."""
        await self._settled.wait()
        if self._polled_in != self._number:
            # Fetched before a rebalance: Kafka will deliver them again from where this assignment begins.
            return []
        claims = []
        for id_, group in groupby(records, key=lambda record: TopicPartition(record.topic, record.partition)):
            partition = self.owned.get(id_)
            if partition is not None and partition.owned and partition.stopped_at is None:
                claimed = list(group)
                if await self._is_next(partition, claimed[0].offset):
                    if partition.taken_from is None:
                        partition.taken_from = claimed[0].offset
                    partition.next_offset = claimed[-1].offset + 1
                    claims.append((partition, claimed))
        return claims

    async def _is_next(self, partition: Partition, offset: int) -> bool:
        """Whether the record at `offset` comes next in its partition; if not, nothing of this poll is taken of it.

        Offsets that do not come are no proof that they never were: a poll may have lost them. So a gap is believed
        only when it comes a second time, after a seek to the offset that was expected.
        """
        expected, gap = partition.next_offset, partition.gap
        partition.gap = None
        if offset < expected:
            # aiokafka begins anew where its position is gone: the log is shorter than it was.
            self._stop(partition, f"its log was replaced: offset {offset} came after {expected - 1}", lasting=True)
            await self._keep_stopped(partition)
        elif offset > expected and gap != (expected, offset):
            partition.gap = expected, offset
            self._seek(partition, expected)
        elif offset > expected:
            beginning = (await self._consumer().beginning_offsets([partition.id]))[partition.id]
            if beginning <= expected:
                return True
            self._stop(partition, _deleted(expected, beginning))
        return offset == expected

    def _stop(self, partition: Partition, why: str, *, lasting: bool = False) -> None:
        """Stop a partition of which records are lost; where it is `lasting`, for whoever owns it later, too."""
        if lasting:
            partition.mark = stopped_mark(why)
        stop_partition(self._consumer(), partition, partition.next_offset, why, WHEN_RECORDS_ARE_LOST)

    async def _keep_stopped(self, partition: Partition) -> None:
        """Store why a partition was stopped: its log may be longer again by the time that somebody else takes it."""
        if partition.mark:
            offset = partition.to_commit or partition.committed or 0
            await commit(self._consumer(), {partition.id: (offset, partition.mark)})

    def _seek(self, partition: Partition, offset: int) -> None:
        # Suppressed: a partition that is no longer ours is read from its committed offset by its next owner.
        with suppress(IllegalStateError):
            self._consumer().seek(partition.id, offset)

    def _stop_unreadable(self) -> None:
        """Stop the partitions of which aiokafka could not read what comes next."""
        for partition in self.owned.values():
            error = find_unreadable(self._consumer(), partition.id)
            if error is not None and partition.stopped_at is None:
                self._stop(partition, f"its next records cannot be read: {error}")

    async def _find_offsets(self, assigned: set[TopicPartition]) -> dict[TopicPartition, Offsets]:
        if not assigned:
            return {}
        try:
            committed = await self._admin.list_consumer_group_offsets(self._group_id, partitions=list(assigned))
            beginnings = await self._consumer().beginning_offsets(list(assigned))
            ends = await self._consumer().end_offsets(list(assigned))
        except (KafkaError, OSError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        return {id_: (*committed.get(id_, (-1, "")), beginnings[id_], ends[id_]) for id_ in assigned}

    async def _alive(self, names: Collection[str]) -> frozenset[str]:
        """Which of the processes that began with a record and are not done with it did not die of it."""
        if not names:
            return frozenset()
        # Our own is alive, though Postgres may be asked before it lists us.
        return await until_available("postgres", lambda: self._find_alive(names)) | {self._name}

    def _take(self, id_: TopicPartition, offsets: Offsets, alive: frozenset[str]) -> Partition:
        """The partition at its committed offset, stopped where that is wrong by now; at its beginning without one."""
        offset, metadata, beginning, end = offsets
        if offset < 0:
            return Partition(id_, beginning, committed=beginning)
        # One that lives lost its place in the group, or its commit was refused: that is no death.
        dead = tuple(process for process in read_trying(metadata) if process not in alive)
        partition = Partition(id_, offset, trying=dead, committed=offset)
        stopped = read_stopped(metadata)
        if stopped is not None:
            self._stop(partition, stopped, lasting=True)
        elif offset < beginning:
            self._stop(partition, _deleted(offset, beginning))
        elif offset > end:
            self._stop(partition, f"its log was replaced: it ends at {end}, and {offset} was committed", lasting=True)
        return partition


def _deleted(offset: int, beginning: int) -> str:
    return f"its records {offset} to {beginning - 1} were deleted before they were read"


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return sorted(f"{id_.topic}-{id_.partition}" for id_ in partitions)

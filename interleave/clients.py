"""What the worker takes for aiokafka's consumer, producer and admin client, over the log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, RequestTimedOutError
from aiokafka.structs import OffsetAndMetadata

from interleave.gates import Do, Gates
from interleave.kafka import Headers, Kafka, Offset
from worker.inbox.assignment import Assignment

TIMESTAMP_BASE_MS = 1_767_225_600_000
"""2026-01-01, as Postgres's time in a scene."""


async def _no_answer(_do: Do) -> Any:
    raise KafkaConnectionError("no answer")


async def _lost_after(do: Do) -> Any:
    await do()
    raise RequestTimedOutError("the answer was lost")


class Consumer:
    """A member of the group. `instance` is its group instance id, "" for none."""

    def __init__(self, kafka: Kafka, gates: Gates, instance: str) -> None:
        self._kafka = kafka
        self._gates = gates
        self.instance = instance
        self.member = self.generation = 0
        self.shared: set[TopicPartition] = set()
        self.positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._is_rejoining = False
        self._committing = asyncio.Lock()
        self._noticed = asyncio.Event()
        self._changed = asyncio.Event()
        self._noticed.set()
        self._coordinator = SimpleNamespace(member_id="")

    def notice(self) -> None:
        """The coordinator wants it to join anew: it will hear of that with its next heartbeat."""
        self._noticed.set()

    def wake(self) -> None:
        """There may be records to read."""
        self._changed.set()

    def settle(self) -> None:
        """The coordinator has it where it belongs."""
        self._noticed.clear()

    async def keep_membership(self, assignment: Assignment) -> None:
        """What aiokafka's coordination does, for ever: join, and join anew."""
        while True:
            await self._noticed.wait()
            await self._gates.call("hear of a rebalance", _nothing)
            self._noticed.clear()
            self._is_rejoining = True
            await assignment.on_partitions_revoked(set(self.positions))
            joined = await self._gates.call("join the group", self._join)
            shared = await joined
            self._paused.clear()
            self.positions = {id_: self._kafka.group.committed.get(id_, (0, ""))[0] for id_ in sorted(shared)}
            self._is_rejoining = False
            await assignment.on_partitions_assigned(shared)
            self._changed.set()

    async def _join(self) -> asyncio.Future[set[TopicPartition]]:
        return self._kafka.group.join(self)

    async def getmany(self) -> tuple[ConsumerRecord, ...]:
        """The records that come next, as many of each partition as the scene says. Waits for the first.

        A fault may lose what was read, with an error or without.
        """
        faults = {"breaks": self._fail, "loses the first": self._lose}
        found: tuple[ConsumerRecord, ...] = ()
        while not found:
            while not any(map(self._next, self.positions)):
                self._changed.clear()
                await self._changed.wait()
            found = await self._gates.call("poll", self._read, faults)
        return found

    def _next(self, id_: TopicPartition) -> list[ConsumerRecord]:
        entries = self._kafka.log(id_).entries[self.positions[id_] :]
        # While it rejoins, aiokafka hands nothing over.
        return [] if self._is_rejoining or id_ in self._paused else [entry for entry in entries if entry is not None]

    async def _read(self) -> tuple[ConsumerRecord, ...]:
        found: list[ConsumerRecord] = []
        for id_ in list(self.positions):
            some = self._next(id_)[: self._kafka.next_poll_size()]
            found += some
            if some:
                self.positions[id_] = some[-1].offset + 1
        return tuple(found)

    async def _fail(self, _do: Do) -> Any:
        await self._read()
        raise RuntimeError("a record could not be read: what was read with it is lost")

    async def _lose(self, _do: Do) -> Any:
        records = await self._read()
        first = TopicPartition(records[0].topic, records[0].partition)
        place = first, records[0].offset
        # What nothing comes behind would never be missed; and what is lost each time is not there.
        is_followed = self._next(first) or any(one.partition == first.partition for one in records[1:])
        if not is_followed or place in self._kafka.lost:
            return records
        self._kafka.lost.add(place)
        return records[1:]

    async def commit(self, offsets: Mapping[TopicPartition, Offset]) -> None:
        """As aiokafka does."""
        if offsets.keys() - self.positions.keys():
            raise IllegalStateError("a partition is not assigned")

        told = sorted(f"{id_.partition}:{offset} {mark}".strip() for id_, (offset, mark) in offsets.items())
        async with self._committing:
            # The request carries them as they are when it is sent. One is sent after another.
            member, generation = self.member, self.generation

            async def commit() -> None:
                self._kafka.group.commit(member, generation, offsets)

            faults = {"lost before": _no_answer, "lost after": _lost_after}
            await self._gates.call(f"commit {', '.join(told)}", commit, faults)

    def seek(self, id_: TopicPartition, offset: int) -> None:
        """As aiokafka does."""
        self._check(id_)
        self.positions[id_] = offset
        self._changed.set()

    def pause(self, id_: TopicPartition) -> None:
        """As aiokafka does."""
        self._check(id_)
        self._paused.add(id_)

    def resume(self, id_: TopicPartition) -> None:
        """As aiokafka does."""
        self._check(id_)
        self._paused.discard(id_)
        self._changed.set()

    def _check(self, id_: TopicPartition) -> None:
        if id_ not in self.positions:
            raise IllegalStateError(f"{id_} is not assigned")

    async def beginning_offsets(self, ids: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """As aiokafka does; nothing is ever deleted."""
        return dict.fromkeys(ids, 0)

    async def end_offsets(self, ids: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """As aiokafka does."""
        return {id_: len(self._kafka.log(id_).entries) for id_ in ids}

    def subscription(self) -> set[str]:
        """As aiokafka does."""
        return {"commands"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        """As aiokafka does."""
        return {log.id.partition for log in self._kafka.topics[topic]}


async def _nothing() -> None:
    pass


class Admin:
    """The part of aiokafka's admin client that is used."""

    def __init__(self, kafka: Kafka, gates: Gates) -> None:
        self._kafka = kafka
        self._gates = gates

    async def list_consumer_group_offsets(
        self, _group_id: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """As aiokafka does."""

        async def read() -> dict[TopicPartition, OffsetAndMetadata]:
            found = self._kafka.group.committed
            return {id_: OffsetAndMetadata(*found.get(id_, (-1, ""))) for id_ in partitions}

        offsets: dict[TopicPartition, OffsetAndMetadata] = await self._gates.call(
            "read offsets", read, {"lost before": _no_answer}
        )
        return offsets


class Batch:
    """The part of aiokafka's batch that is used."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, Headers]] = []

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """As aiokafka does."""
        del timestamp
        self.records.append((key, value, tuple(headers)))
        return True


class Producer:
    """The part of aiokafka's producer that is used."""

    def __init__(self, kafka: Kafka, gates: Gates) -> None:
        self._kafka = kafka
        self._gates = gates
        cluster = SimpleNamespace(topics=lambda: set(kafka.topics), leader_for_partition=lambda _id: 0)
        self.client = SimpleNamespace(cluster=cluster, fetch_all_metadata=self._fetch_all_metadata)

    async def _fetch_all_metadata(self) -> Any:
        return self.client.cluster

    def create_batch(self) -> Batch:
        """As aiokafka does."""
        return Batch()

    async def partitions_for(self, topic: str) -> set[int]:
        """As aiokafka does."""
        return {log.id.partition for log in self._kafka.topics[topic]}

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """As aiokafka does: what is returned is done once the batch is acknowledged."""

        async def write() -> None:
            log = self._kafka.topics[topic][partition]
            for key, value, headers in batch.records:
                log.add(key, value, headers, TIMESTAMP_BASE_MS + round(self._gates.loop.now * 1000))

        faults = {"lost before": _no_answer, "lost after": _lost_after}
        return asyncio.ensure_future(self._gates.call(f"publish {len(batch.records)} to {topic}", write, faults))

    async def stop(self) -> None:
        """Nothing is left to be sent."""

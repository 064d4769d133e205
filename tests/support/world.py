"""A world of one test's own on the shared servers: a database, topics, a consumer group, and the workers in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import NotFound

from tests.support.commands import Command, Record, publish, record_of, serialize_value
from tests.support.postgres import migrated_database
from tests.support.replies import Topic, open_topic
from tests.support.workers import PATIENCE_S, POLL_S, WALLEX_WORKER, Worker

DELIVERY_MS = 120_000
"""As long as Kafka's own producers try to deliver a record: longer than any outage of a test."""


class World:
    """What a test acts in. `environment` is a worker's; `partitions` is how many each topic has."""

    def __init__(self, environment: dict[str, str], folder: Path, partitions: int) -> None:
        prefix = f"test-{uuid4().hex[:12]}"
        self.command_topic, self.reply_topic = f"{prefix}.commands", f"{prefix}.replies"
        self.dlq_topic, self.group = f"{prefix}.dlq", f"{prefix}-group"
        self.partitions = partitions
        self.folder = folder
        self.bootstrap_servers = environment["KAFKA_BOOTSTRAP_SERVERS"]
        self.environment = environment | {
            "COMMAND_TOPICS": self.command_topic,
            "REPLY_TOPIC": self.reply_topic,
            "REPLY_TOPIC_PATTERN": rf"{prefix}\.replies(\..+)?",
            "SCHEDULE_TOPIC": f"{prefix}.schedule",
            "DLQ_TOPIC": self.dlq_topic,
            "KAFKA_GROUP_ID": self.group,
            "HTTP_PORT": "0",
        }
        self.workers: list[Worker] = []
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers,
            acks="all",
            linger_ms=2,
            max_request_size=2**21,
            value_serializer=serialize_value,
            request_timeout_ms=DELIVERY_MS,
        )
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        self._numbers = count(1)
        self._open = AsyncExitStack()

    def start(self, instance: str, *, command: Sequence[str] = WALLEX_WORKER, **environment: str) -> Worker:
        """Start a worker under the group instance id `instance`, so that it takes its partitions back at once."""
        log = self.folder / f"{instance}-{len(self.workers)}.log"
        told = self.environment | {"KAFKA_GROUP_INSTANCE_ID": f"{self.group}-{instance}"} | environment
        worker = Worker(told, log, command)
        self.workers.append(worker)
        return worker

    async def send(self, messages: Iterable[Record | Command]) -> list[bytes]:
        """Publish `messages` in order, each with a correlation id of its own; return those ids."""
        records = [one if isinstance(one, Record) else record_of(one) for one in messages]
        ids = [b"%d" % next(self._numbers) for _ in records]
        numbered = [
            Record(record.key, record.value, (*record.headers, ("correlation_id", id_)), record.partition)
            for record, id_ in zip(records, ids, strict=True)
        ]
        await self.send_as_is(numbered)
        return ids

    async def send_as_is(self, records: Sequence[Record]) -> None:
        """Publish `records` in order with no other headers than their own."""
        await publish(self.producer, self.command_topic, records)

    async def streams(self, wallet_ids: Sequence[str]) -> dict[str, tuple[RecordedEvent, ...]]:
        """The events of some wallets, in order."""
        return await asyncio.to_thread(read_streams, self.environment["KURRENTDB_URI"], wallet_ids)

    async def topic(self, name: str) -> Topic:
        """Read a topic of this world from its beginning."""
        return await self._open.enter_async_context(open_topic(self.bootstrap_servers, name, self.partitions))

    async def create_topic(self, name: str, **configs: str) -> None:
        """Create a topic with as many partitions as the others."""
        await self.admin.create_topics([NewTopic(name, self.partitions, 1, topic_configs=configs)])

    async def committed(self) -> dict[int, int]:
        """How far the group has committed the command topic, by partition; those without a commit are left out."""
        ids = [TopicPartition(self.command_topic, partition) for partition in range(self.partitions)]
        offsets = await self.admin.list_consumer_group_offsets(self.group, partitions=ids)
        return {id_.partition: found.offset for id_, found in offsets.items() if found.offset >= 0}

    async def ends(self) -> dict[int, int]:
        """Where each partition of the command topic ends, however many there are by now."""
        async with AIOKafkaConsumer(self.command_topic, bootstrap_servers=self.bootstrap_servers) as consumer:
            ids = consumer.assignment()
            return {id_.partition: end for id_, end in (await consumer.end_offsets(ids)).items()}

    async def add_partition(self, topic: str) -> None:
        """Give `topic` one partition more than the topics have; the producer knows of it then."""
        await self.admin.create_partitions({topic: NewPartitions(total_count=self.partitions + 1)})
        async with asyncio.timeout(PATIENCE_S):
            while len(await self.producer.partitions_for(topic)) <= self.partitions:
                await asyncio.sleep(POLL_S)
                await self.producer.client.force_metadata_update()

    async def commit(self, offsets: dict[int, int]) -> None:
        """Set the offsets of the group by hand; its workers must have ended."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, group_id=self.group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            ids = {partition: TopicPartition(self.command_topic, partition) for partition in offsets}
            consumer.assign(list(ids.values()))
            await consumer.commit({ids[partition]: offset for partition, offset in offsets.items()})
        finally:
            await consumer.stop()

    async def end_workers(self) -> None:
        """End every worker that still runs."""
        for worker in self.workers:
            if worker.code is None:
                worker.kill()

    async def _enter(self) -> None:
        await self.producer.start()
        self._open.push_async_callback(self.producer.stop)
        await self.admin.start()
        self._open.push_async_callback(self.admin.close)
        for name in (self.command_topic, self.reply_topic, self.dlq_topic, self.environment["SCHEDULE_TOPIC"]):
            await self.create_topic(name)

    async def _leave(self) -> None:
        await self.end_workers()
        await self._open.aclose()


@asynccontextmanager
async def open_world(environment: dict[str, str], folder: Path, partitions: int) -> AsyncIterator[World]:
    """Make a world on the servers that `environment` names; everything that ran in it is ended afterwards."""
    async with migrated_database(environment) as own:
        world = World(own, folder, partitions)
        await world._enter()
        try:
            yield world
        finally:
            await world._leave()


def read_streams(uri: str, wallet_ids: Iterable[str]) -> dict[str, tuple[RecordedEvent, ...]]:
    """Each wallet's events, in order; none where it has no stream."""
    client = EventStoreDBClient(uri)
    try:
        return {wallet_id: read_stream(client, wallet_id) for wallet_id in wallet_ids}
    finally:
        client.close()


def read_stream(client: EventStoreDBClient, wallet_id: str) -> tuple[RecordedEvent, ...]:
    """A wallet's events, in order; none where it has no stream."""
    try:
        return client.get_stream(f"wallet-{wallet_id}")
    except NotFound:
        return ()

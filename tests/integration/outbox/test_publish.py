"""Replies and dead letters on a real Kafka: delivered, redirected, or waited for; never lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from structlog.testing import capture_logs

from devstack.stack import Stack
from worker.errors import Unavailable
from worker.outbox import publish
from worker.outbox.publish import Message, Publisher
from worker.retry import until_available


class Kafka:
    """A broker, a publisher to it, and what its topics hold."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.prefix = f"test-{uuid4().hex[:12]}"
        self.default = f"{self.prefix}.replies"
        self.publisher = Publisher({"bootstrap_servers": servers}, self.default)
        self.admin = AIOKafkaAdminClient(bootstrap_servers=servers)

    def message(self, topic: str, value: bytes | None = b"{}", key: bytes | None = b"key", **fields) -> Message:
        return Message(topic, key, value, fields.pop("headers", [("status", b"accepted")]), **fields)

    async def create(self, name: str, partitions: int = 1, **configs: str) -> str:
        """Create a topic under this test's prefix; return its name."""
        topic = f"{self.prefix}.{name}"
        configs = {name.replace("_", "."): value for name, value in configs.items()}
        await self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        while topic not in await self.admin.list_topics():  # noqa: ASYNC110 - Kafka sends no event to wait for
            await asyncio.sleep(0.01)
        return topic

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            end = sum((await consumer.end_offsets(list(consumer.assignment()))).values())
            records: list[ConsumerRecord] = []
            while len(records) < end:
                records += [r for batch in (await consumer.getmany(timeout_ms=1000)).values() for r in batch]
            return records
        finally:
            await consumer.stop()


async def opened(servers: str) -> Kafka:
    kafka = Kafka(servers)
    await until_available("kafka", lambda: _start(kafka.admin))
    await kafka.create("replies")
    return kafka


async def _start(admin: AIOKafkaAdminClient) -> None:
    try:
        await admin.start()
    except KafkaError as error:
        raise Unavailable(str(error)) from error


@pytest.fixture
async def kafka(stack) -> AsyncIterator[Kafka]:
    kafka = await opened(stack.environment()["KAFKA_BOOTSTRAP_SERVERS"])
    yield kafka
    await kafka.publisher.close()
    await kafka.admin.close()


@pytest.fixture(scope="session")
def own_stack(tmp_path_factory):
    """A broker that a test may stop."""
    own = Stack(tmp_path_factory.mktemp("kafka"))
    own.up(["kafka"])
    yield own
    own.down()


@pytest.fixture
async def fragile(own_stack, monkeypatch) -> AsyncIterator[Kafka]:
    """The broker that may be stopped, and a publisher that soon gives up."""
    monkeypatch.setattr(publish, "SEND_TIMEOUT_S", 2.0)
    monkeypatch.setattr(publish, "REQUEST_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(publish, "CLOSE_TIMEOUT_S", 0.5)
    kafka = await opened(own_stack.environment()["KAFKA_BOOTSTRAP_SERVERS"])
    yield kafka
    await kafka.publisher.close()
    await kafka.admin.close()


def headers_of(record: ConsumerRecord) -> dict[str, bytes | None]:
    return dict(record.headers)


async def test_messages_arrive_with_key_value_and_headers(kafka):
    """What is published stands in Kafka byte for byte, in order for each key."""
    headers = [("correlation_id", bytes(range(16))), ("status", b"accepted"), ("note", None)]
    messages = [kafka.message(kafka.default, b"%d" % number, headers=headers) for number in range(500)]

    await kafka.publisher.publish(messages)

    records = await kafka.records(kafka.default)
    assert [record.value for record in records] == [b"%d" % number for number in range(500)]
    assert {record.key for record in records} == {b"key"}
    assert records[0].headers == tuple(headers)


async def test_many_messages_fill_several_batches_and_stay_in_order(kafka):
    """More than one batch holds goes out in several, each key in its partition and in its order."""
    topic = await kafka.create("many", partitions=3)
    keys = [f"wallet-{number % 7}".encode() for number in range(1500)]
    messages = [kafka.message(topic, b"%06d" % place + bytes(900), key) for place, key in enumerate(keys)]

    await kafka.publisher.publish(messages)

    records = await kafka.records(topic)
    assert len(records) == len(messages)
    assert len({record.partition for record in records}) == 3
    for key in set(keys):
        sent = [message.value for message in messages if message.key == key]
        found = [record for record in records if record.key == key]
        assert [record.value for record in found] == sent
        assert len({record.partition for record in found}) == 1


async def test_nothing_to_publish_is_nothing(kafka):
    """A batch whose records all wait has no replies."""
    await kafka.publisher.publish([])

    assert await kafka.records(kafka.default) == []


async def test_a_record_without_key_and_value_is_published(kafka):
    """The dead letter of a record that had neither has neither."""
    dlq = await kafka.create("dlq")

    await kafka.publisher.publish([kafka.message(dlq, None, None, is_reply=False)])

    (record,) = await kafka.records(dlq)
    assert (record.key, record.value) == (None, None)


async def test_a_reply_to_a_topic_that_does_not_exist_goes_to_the_default_one(kafka):
    """The command has run: its reply is not lost, says where it was meant for, and creates no topic."""
    missing = f"{kafka.default}.nobody"

    await kafka.publisher.publish([kafka.message(missing, b"a"), kafka.message(kafka.default, b"b")])

    a, b = sorted(await kafka.records(kafka.default), key=lambda record: record.value)
    assert headers_of(a) == {"status": b"accepted", "reply_to_failed": missing.encode()}
    assert headers_of(b) == {"status": b"accepted"}
    assert missing not in await kafka.admin.list_topics()


async def test_a_topic_that_was_just_created_is_found(kafka):
    """A sender creates its reply topic and sends its first command at once."""
    await kafka.publisher.publish([kafka.message(kafka.default)])
    new = await kafka.create("replies.new")

    await kafka.publisher.publish([kafka.message(new)])

    assert len(await kafka.records(new)) == 1


@pytest.mark.parametrize(
    ("configs", "key"),
    [
        ({"max_message_bytes": "200"}, b"key"),
        ({"cleanup_policy": "compact"}, None),
    ],
    ids=["too small", "compacted, and no key"],
)
async def test_a_reply_that_its_topic_does_not_take_goes_to_the_default_one(kafka, monkeypatch, configs, key):
    """Whatever a broker has against it: a topic that a sender chose must not hold up the replies of others."""
    monkeypatch.setattr(publish, "REQUEST_TIMEOUT_MS", 1_000)
    picky = await kafka.create("replies.picky", **configs)

    with capture_logs() as logs:
        await kafka.publisher.publish([kafka.message(picky, b"x" * 500, key), kafka.message(kafka.default, b"b")])

    records = await kafka.records(kafka.default)
    assert [headers_of(record).get("reply_to_failed") for record in records if record.value != b"b"] == [picky.encode()]
    assert len(records) == 2
    assert await kafka.records(picky) == []
    assert [line["topic"] for line in logs if line["event"] == "reply_redirected"] == [picky]


async def test_a_reply_that_no_topic_takes_is_said(kafka):
    """Nothing so large is ever built: should it be all the same, the log says why nothing goes on."""
    other = await kafka.create("replies.other")

    with pytest.raises(Unavailable, match="MessageSizeTooLargeError"):
        await kafka.publisher.publish([kafka.message(other, b"x" * (publish.REQUEST_BYTES_MAX + 1))])


async def test_a_topic_that_is_deleted_in_use_is_replaced(fragile):
    """Found out by the first reply that the topic no longer takes, and then known."""
    topic = await fragile.create("replies.doomed")
    await fragile.publisher.publish([fragile.message(topic, b"before")])
    await fragile.admin.delete_topics([topic])

    await until_available("kafka", lambda: fragile.publisher.publish([fragile.message(topic, b"after")]))
    async with asyncio.timeout(0.9):
        await fragile.publisher.publish([fragile.message(topic, b"later")])

    records = await fragile.records(fragile.default)
    assert {record.value for record in records} == {b"after", b"later"}
    assert {headers_of(record)["reply_to_failed"] for record in records} == {topic.encode()}


async def test_a_dead_letter_is_never_redirected(fragile):
    """A missing dead-letter topic is waited for: among the replies nobody would look for a dead letter."""
    dead_letter = fragile.message(f"{fragile.prefix}.dlq", is_reply=False)

    with pytest.raises(Unavailable):
        await fragile.publisher.publish([dead_letter])
    dlq = await fragile.create("dlq")
    await until_available("kafka", lambda: fragile.publisher.publish([dead_letter]))

    assert await fragile.records(fragile.default) == []
    assert len(await fragile.records(dlq)) == 1


async def test_a_broker_that_no_longer_answers_is_an_outage_and_then_forgotten(fragile, own_stack):
    """Stopped and continued: `Unavailable` meanwhile, everything published afterwards, nothing redirected."""
    other = await fragile.create("replies.other")
    await fragile.publisher.publish([fragile.message(other, b"before")])
    pid = own_stack.pid("kafka")
    messages = [fragile.message(other, b"a"), fragile.message(fragile.default, b"b")]

    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await fragile.publisher.publish(messages)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until_available("kafka", lambda: fragile.publisher.publish(messages))

    assert {record.value for record in await fragile.records(other)} == {b"before", b"a"}
    assert {record.value for record in await fragile.records(fragile.default)} == {b"b"}


async def test_a_broker_that_is_killed_and_comes_back_gets_everything(fragile, own_stack):
    """A crash of the broker: the same again until it is back."""
    other = await fragile.create("replies.other")
    await fragile.publisher.publish([fragile.message(other, b"before")])

    own_stack.kill("kafka")
    with pytest.raises(Unavailable):
        await fragile.publisher.publish([fragile.message(other, b"after")])
    publishing = asyncio.create_task(
        until_available("kafka", lambda: fragile.publisher.publish([fragile.message(other, b"after")]))
    )
    await asyncio.to_thread(own_stack.up, ["kafka"])
    await publishing

    assert {record.value for record in await fragile.records(other)} == {b"before", b"after"}
    assert await fragile.records(fragile.default) == []


async def test_readiness_and_publishing_share_one_producer(kafka, monkeypatch):
    """Both may be the first to need it, at the same time: one is started."""
    started = 0
    start = publish._start_producer

    async def counted(connection):
        nonlocal started
        started += 1
        return await start(connection)

    monkeypatch.setattr(publish, "_start_producer", counted)

    await asyncio.gather(kafka.publisher.is_ready(), kafka.publisher.publish([kafka.message(kafka.default)]))

    assert started == 1

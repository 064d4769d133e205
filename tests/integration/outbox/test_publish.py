"""Replies and dead letters on a real Kafka: delivered, redirected, or waited for; never lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from structlog.testing import capture_logs

from devstack.stack import Stack
from tests.support.received import command_record
from worker.contracts.replies import ErrorCode
from worker.domain.rejections import Rejected
from worker.errors import Unavailable
from worker.inbox.dead_letter import dead_letter
from worker.outbox import publish, send
from worker.outbox.publish import Message, NotPublished, Publisher
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


def without_leader(monkeypatch, topic: str) -> None:
    """Have the partitions of `topic` lead nowhere, as where all brokers that hold them are away."""
    leader_of = ClusterMetadata.leader_for_partition
    monkeypatch.setattr(
        ClusterMetadata,
        "leader_for_partition",
        lambda cluster, partition: -1 if partition.topic == topic else leader_of(cluster, partition),
    )


def letter_for(topic: str, record: ConsumerRecord) -> Message:
    return dead_letter(record, topic, Rejected(ErrorCode.INVALID_COMMAND, "No.", {}), 1)


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


async def test_a_reply_that_no_topic_takes_is_returned_with_the_reason(kafka):
    """Nothing so large is ever built: should it be all the same, it holds up nothing else."""
    other = await kafka.create("replies.other")
    too_large = kafka.message(other, b"x" * (publish.REQUEST_BYTES_MAX + 1))

    refused = await kafka.publisher.publish([too_large, kafka.message(other, b"a")])

    assert list(refused) == [0]
    assert f"{kafka.default} does not take it: MessageSizeTooLargeError" in refused[0]
    assert [record.value for record in await kafka.records(other)] == [b"a"]


async def test_a_topic_without_a_leader_holds_up_nobody(kafka, monkeypatch):
    """Its replies are redirected at once, not after the time that a request may take; others' wait for nothing."""
    dead = await kafka.create("replies.dead")
    without_leader(monkeypatch, dead)
    messages = [kafka.message(dead, b"a"), kafka.message(kafka.default, b"b")]

    with capture_logs() as logs:
        async with asyncio.timeout(publish.REQUEST_TIMEOUT_MS / 2000):
            await kafka.publisher.publish(messages)
            await kafka.publisher.publish(messages)

    records = await kafka.records(kafka.default)
    assert sorted(record.value for record in records) == [b"a", b"a", b"b", b"b"]
    assert [headers_of(record).get("reply_to_failed") for record in records if record.value == b"a"] == [
        dead.encode()
    ] * 2
    assert [line["topic"] for line in logs if line["event"] == "reply_redirected"] == [dead]


async def test_a_topic_that_did_not_take_a_reply_is_left_alone_for_a_while(kafka, monkeypatch):
    """Nobody waits for it anew, even if it could be had again; afterwards it is tried."""
    topic = await kafka.create("replies.dead")
    with monkeypatch.context() as patched:
        without_leader(patched, topic)
        await kafka.publisher.publish([kafka.message(topic, b"leaderless")])

    await kafka.publisher.publish([kafka.message(topic, b"left alone")])
    kafka.publisher._avoided_until[topic] = 0.0
    await kafka.publisher.publish([kafka.message(topic, b"tried again")])

    assert [record.value for record in await kafka.records(kafka.default)] == [b"leaderless", b"left alone"]
    assert [record.value for record in await kafka.records(topic)] == [b"tried again"]


async def test_one_record_that_its_topic_does_not_take_costs_the_others_nothing(kafka):
    """A batch is refused as a whole: it is sent in parts until the one stands alone."""
    picky = await kafka.create("replies.picky", max_message_bytes="2000")
    values = [b"%d" % number for number in range(20)] + [b"x" * 3000] + [b"%d" % number for number in range(20, 40)]

    await kafka.publisher.publish([kafka.message(picky, value) for value in values])

    assert sorted(int(record.value) for record in await kafka.records(picky)) == list(range(40))
    assert [record.value for record in await kafka.records(kafka.default)] == [b"x" * 3000]


async def test_what_was_acknowledged_is_not_sent_again(kafka, monkeypatch):
    """A dead-letter topic is missing: the replies beside its letter come once, however often that is tried."""
    monkeypatch.setattr(publish, "SEND_TIMEOUT_S", 0.5)
    replies = [kafka.message(kafka.default, b"%d" % number) for number in range(20)]
    letter = kafka.message(f"{kafka.prefix}.dlq", is_reply=False)
    delivering = asyncio.create_task(kafka.publisher.deliver([letter, *replies]))

    with capture_logs() as logs:
        while not any(line["event"] == "server_lost" for line in logs):  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.01)
        dlq = await kafka.create("dlq")
        assert await delivering == {}

    assert [record.value for record in await kafka.records(kafka.default)] == [b"%d" % number for number in range(20)]
    assert len(await kafka.records(dlq)) == 1


async def test_replies_that_take_too_long_at_once_are_sent_in_parts(monkeypatch):
    """On a line that carries a few of them in the time that a publish has, all arrive in the end, each once."""
    publisher = Publisher({}, "replies")
    sent: list[bytes | None] = []

    async def slow(messages):
        if len(messages) > 3:
            raise NotPublished(TimeoutError(), range(len(messages)))
        sent.extend(message.value for message in messages)
        return {}

    monkeypatch.setattr(publisher, "publish", slow)
    monkeypatch.setattr("worker.retry.BACKOFF_MAX_S", 0.0)
    values = [b"%d" % number for number in range(25)]

    await publisher.deliver([Message("replies", None, value, ()) for value in values])

    assert sent == values


async def test_a_letter_is_cut_until_its_topic_takes_it(kafka):
    """300 kB for a topic that takes 100: the letter comes, and says that it was cut."""
    dlq = await kafka.create("dlq", max_message_bytes="100000")
    record = command_record(b"x" * 300_000, [("own", b"header")], key=b"k")

    refused = await kafka.publisher.publish([letter_for(dlq, record), kafka.message(kafka.default, b"b")])

    (found,) = await kafka.records(dlq)
    assert refused == {}
    assert (found.key, found.value) == (b"k", b"x" * 75_000)
    assert (headers_of(found)["dlq_truncated"], headers_of(found)["own"]) == (b"true", b"header")
    assert len(await kafka.records(kafka.default)) == 1


async def test_a_letter_loses_its_value_where_nothing_else_fits_and_is_then_refused(kafka):
    """Where the record stood and what was wrong with it are what a letter is for."""
    narrow, none_at_all = (
        await kafka.create("narrow", max_message_bytes="400"),
        await kafka.create("none", max_message_bytes="50"),
    )
    record = command_record(b"x" * 300_000, [("own", b"h" * 1000)], key=b"k" * 1000)

    refused = await kafka.publisher.publish([letter_for(narrow, record), letter_for(none_at_all, record)])

    (found,) = await kafka.records(narrow)
    assert (found.key, found.value) == (None, None)
    assert (headers_of(found)["dlq_offset"], headers_of(found)["dlq_truncated"]) == (b"1024", b"true")
    assert list(refused) == [1]
    assert refused[1].startswith(f"{none_at_all} does not take it: MessageSizeTooLargeError")


async def test_a_record_without_a_key_for_a_compacted_topic_is_refused_by_name(kafka):
    """Not as an unknown error of no topic, and not tried for ever."""
    compacted = await kafka.create("dlq", cleanup_policy="compact")

    refused = await kafka.publisher.publish(
        [kafka.message(compacted, key=None, is_reply=False), kafka.message(compacted, b"a", is_reply=False)]
    )

    assert list(refused) == [0]
    assert f"{compacted} does not take it: InvalidRecordError" in refused[0]
    assert [record.value for record in await kafka.records(compacted)] == [b"a"]


@pytest.mark.parametrize("ahead_s", [2 * 3600, -2 * 3600])
async def test_a_clock_that_the_broker_refuses_keeps_no_reply_back(kafka, monkeypatch, ahead_s):
    """The record goes out under its own time instead, and the log says so once."""
    limits = {"message_timestamp_after_max_ms": "3600000", "message_timestamp_before_max_ms": "3600000"}
    topic = await kafka.create("replies.strict", **limits)
    now_ms = round(time.time() * 1000)
    monkeypatch.setattr(send, "_now_ms", lambda: now_ms + ahead_s * 1000)
    messages = [kafka.message(topic, b"%d" % number, time_ms=now_ms - number) for number in range(3)]

    with capture_logs() as logs:
        assert await kafka.publisher.publish(messages) == {}
        assert await kafka.publisher.publish(messages) == {}

    assert [record.timestamp for record in await kafka.records(topic)] == [now_ms, now_ms - 1, now_ms - 2] * 2
    assert [line["topic"] for line in logs if line["event"] == "clock_refused"] == [topic]


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

    monkeypatch.setattr(kafka.publisher, "_start_producer", counted)

    await asyncio.gather(kafka.publisher.is_ready(), kafka.publisher.publish([kafka.message(kafka.default)]))

    assert started == 1

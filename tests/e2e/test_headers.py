"""What stands around a command: where its reply goes, what is given back, and records that are no commands at all."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from tests.support.commands import Record, create_wallet, credit, new_id, record_of, transfer
from tests.support.invariants import check
from tests.support.replies import code, content, header
from tests.support.world import World

BINARY = bytes(range(240, 256))
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LARGE = b"\x7b" + b" " * 600_000
DEAD_LETTER_BYTES_MAX = 512 * 1024
GOOD_BEFORE = 20


async def answered(world: World, *records: Record):
    """Run `records` to their end in a worker of their own; return the first reply to each, the books, the replies."""
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")
    found = await replies.until_answered(await world.send(records))
    assert await worker.stop() == 0
    return found, await check(world, replies), replies


async def test_poisonous_records_in_a_batch_leave_the_good_ones_alone(world):
    """Each gets exactly what the contract says; the good ones around them take effect, once."""
    wallet = new_id()
    binary = ("kafka_correlationId", BINARY)
    poisonous = {
        "null header": record_of(credit(wallet), ("x-nothing", None), ("correlation_id", None), partition=0),
        "binary correlation": record_of(credit(wallet), binary, partition=0),
        "forbidden topic": record_of(credit(wallet), ("reply_to", b"wallet.elsewhere"), partition=0),
        "tombstone": Record(wallet.encode(), None, (binary,), partition=0),
        "garbage": Record(wallet.encode(), b"\xff\xfe{", (("x-nothing", None),), partition=0),
        "oversized": Record(wallet.encode(), b"x" * 70_000, partition=0),
        "enormous": Record(wallet.encode(), LARGE, partition=0),
    }
    good = [record_of(create_wallet(wallet), partition=0)]
    good += [record_of(credit(wallet), partition=0) for _ in range(GOOD_BEFORE)]
    between = [one for record in poisonous.values() for one in (record, record_of(credit(wallet), partition=0))]
    dead_letters = await world.topic(world.dlq_topic)

    found, books, _ = await answered(world, *good, *between)

    replies = dict(zip(poisonous, found[len(good) :: 2], strict=True))
    assert {name: code(reply) for name, reply in replies.items()} == {
        "null header": None,
        "binary correlation": None,
        "forbidden topic": "ReplyTopicNotAllowed",
        **dict.fromkeys(("tombstone", "garbage", "oversized", "enormous"), "InvalidCommand"),
    }
    assert header(replies["binary correlation"], "kafka_correlationId") == BINARY
    assert content(replies["forbidden topic"])["error"]["details"] == {"replyTopic": "wallet.elsewhere"}
    assert [content(replies[name])["commandId"] for name in ("tombstone", "garbage", "oversized")] == [None] * 3
    ran = GOOD_BEFORE + len(poisonous) + 2
    assert (books.wallets[wallet]["version"], books.wallets[wallet]["balance"]) == (ran, 100 + ran)
    by_hash = [event for event in books.streams[wallet] if BINARY.hex().encode() in event.metadata]
    assert by_hash == [], "the number under correlation_id comes first in the event's metadata"
    await dead_letters.to_end()
    assert {sha256(letter.value or b"").digest() for letter in dead_letters.records} == {
        sha256((poisonous[name].value or b"")[:DEAD_LETTER_BYTES_MAX]).digest()
        for name in ("tombstone", "garbage", "oversized", "enormous")
    }


async def test_a_dead_letter_says_where_it_comes_from_and_why(world):
    """The bytes and headers as they came, and the place, the time and the reason beside them."""
    wallet = new_id()
    poison = Record(wallet.encode(), b"no JSON", (("x-nothing", None), ("x-binary", BINARY)), partition=2)
    empty = Record(None, None, partition=3)
    large = Record(b"\xff\x00", LARGE, partition=1)
    dead_letters = await world.topic(world.dlq_topic)

    found, _, _ = await answered(world, record_of(create_wallet(wallet), partition=2), poison, empty, large)

    letters = {letter.value: letter for letter in await dead_letters.until_count(3)}
    letter = letters[b"no JSON"]
    told = dict(letter.headers)
    record = (await (await world.topic(world.command_topic)).to_end())[-1]
    assert (letter.key, told["x-nothing"], told["x-binary"]) == (wallet.encode(), None, BINARY)
    assert told["correlation_id"] == header(found[1], "correlation_id")
    assert (told["dlq_error_code"], told["dlq_attempt"]) == (b"InvalidCommand", b"1")
    assert (told["dlq_topic"], told["dlq_partition"]) == (world.command_topic.encode(), b"2")
    assert told["dlq_offset"] == b"1"
    assert abs(int(told["dlq_timestamp"]) - record.timestamp) < 60_000
    assert told["dlq_error_message"].decode()
    assert "dlq_truncated" not in told
    assert letters[None].key is None
    assert header(letters[LARGE[:DEAD_LETTER_BYTES_MAX]], "dlq_truncated") == b"true"
    assert letters[LARGE[:DEAD_LETTER_BYTES_MAX]].key == b"\xff\x00"


async def test_a_binary_correlation_id_stands_in_the_event_as_hexadecimal(world):
    """Spring's correlation ids are 16 bytes: given back as they are, and text in the event's metadata."""
    wallet = new_id()
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")

    await world.send_as_is([record_of(create_wallet(wallet), ("kafka_correlationId", BINARY))])

    (reply,) = await replies.until_count(1)
    assert await worker.stop() == 0
    assert (header(reply, "kafka_correlationId"), header(reply, "correlation_id")) == (BINARY, None)
    assert json.loads((await world.streams([wallet]))[wallet][0].metadata)["$correlationId"] == BINARY.hex()


async def test_a_reply_goes_to_the_topic_that_was_asked_for(world):
    """To an allowed topic that exists, under either name of the header, and nowhere else."""
    await world.create_topic(f"{world.reply_topic}.payments")
    payments = await world.topic(f"{world.reply_topic}.payments")
    default = await world.topic(world.reply_topic)
    wallet, topic = new_id(), f"{world.reply_topic}.payments".encode()
    worker = world.start("a")

    sent = await world.send(
        [
            record_of(create_wallet(wallet), ("reply_to", topic)),
            record_of(credit(wallet), ("kafka_replyTopic", topic)),
            record_of(credit(wallet), ("kafka_replyTopic", b"wallet.elsewhere"), ("reply_to", topic)),
        ]
    )

    found = await payments.until_answered(sent)
    assert await worker.stop() == 0
    assert [code(reply) for reply in found] == [None] * 3
    assert await default.to_end() == []


async def test_a_reply_goes_to_the_partition_that_was_asked_for(world):
    """Where its topic has it; else its key decides, as without the header."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    asked = [partition.to_bytes(4) for partition in (*range(world.partitions), world.partitions)]

    sent = await world.send(
        [record_of(create_wallet(wallet)), *(record_of(credit(wallet), ("kafka_replyPartition", one)) for one in asked)]
    )

    by_key, *found, beyond = [reply.partition for reply in await replies.until_answered(sent)]
    assert (found, beyond) == (list(range(world.partitions)), by_key)
    assert await worker.stop() == 0


async def test_a_reply_topic_that_does_not_exist_is_replaced_by_the_default(world):
    """The command runs all the same, and its reply says where it could not go."""
    wallet, missing = new_id(), f"{world.reply_topic}.missing".encode()

    (first, second), books, _ = await answered(
        world, record_of(create_wallet(wallet), ("reply_to", missing)), record_of(credit(wallet))
    )

    assert (code(first), header(first, "reply_to_failed")) == (None, missing)
    assert (code(second), header(second, "reply_to_failed")) == (None, None)
    assert books.wallets[wallet]["version"] == 1


@pytest.mark.parametrize("topic", ["commands", "dlq", "__consumer_offsets", "wallet.replies\n", "x" * 300])
async def test_a_topic_that_is_not_for_replies_is_refused(world, topic):
    """The command does not run, whatever the header holds, and the default topic hears of it."""
    wanted = {"commands": world.command_topic, "dlq": world.dlq_topic}.get(topic, topic)

    (reply,), books, _ = await answered(world, record_of(create_wallet(new_id()), ("reply_to", wanted.encode())))

    assert code(reply) == "ReplyTopicNotAllowed"
    assert books.wallets == {}


async def test_what_a_reply_is_recognised_by_comes_back(world):
    """Correlation id, trace context, key; the command's id and status; `replayed` where it had run before."""
    wallet = new_id()
    opening = record_of(create_wallet(wallet), ("traceparent", TRACEPARENT))
    odd = record_of(credit(wallet), ("traceparent", b"00-nonsense"), ("kafka_correlationId", b"y" * 257))

    (first, second, again), books, _ = await answered(world, opening, odd, opening)

    assert (first.key, header(first, "traceparent"), header(first, "status")) == (
        wallet.encode(),
        TRACEPARENT,
        b"accepted",
    )
    assert header(first, "command_id") == content(first)["commandId"].encode()
    assert (header(second, "traceparent"), header(second, "kafka_correlationId")) == (None, None)
    assert (again.value, header(again, "replayed"), header(first, "replayed")) == (first.value, b"true", None)
    assert header(again, "correlation_id") != header(first, "correlation_id")
    assert json.loads(books.streams[wallet][0].metadata)["traceparent"] == TRACEPARENT.decode()


async def test_records_without_a_key_or_with_another_run_all_the_same(world):
    """The key says where a record lies, not what it means; the reply gets the same."""
    one, two = new_id(), new_id()
    opening = [record_of(create_wallet(one), partition=0), record_of(create_wallet(two), partition=0)]
    bare = Record(None, record_of(credit(one)).value, partition=0)
    strange = Record(b"\xffstrange", record_of(transfer(two, one)).value, partition=0)

    found, books, _ = await answered(world, *opening, bare, strange)

    assert [reply.key for reply in found[2:]] == [None, b"\xffstrange"]
    assert books.wallets[one]["balance"] == 102


async def test_commands_of_one_key_take_effect_and_are_answered_in_order(world):
    """Each command on a wallet makes the next version, in the order of publishing, and so do the replies come."""
    wallets = [new_id() for _ in range(5)]
    rounds = [record_of(credit(wallet)) for _ in range(100) for wallet in wallets]

    found, _, replies = await answered(world, *(record_of(create_wallet(wallet)) for wallet in wallets), *rounds)

    versions = [content(reply)["wallets"][0]["version"] for reply in found]
    assert versions == [version for version in range(101) for _ in wallets]
    for wallet in wallets:
        ours = [reply for reply in replies.records if reply.key == wallet.encode()]
        assert [content(reply)["wallets"][0]["version"] for reply in ours] == list(range(101))

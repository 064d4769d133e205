"""Dead letters: a record's bytes as they came, within Kafka's limit, with the reason beside them."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.support.received import command_record
from worker.contracts.replies import ErrorCode
from worker.domain.rejections import Rejected
from worker.inbox.dead_letter import VALUE_BYTES_MAX, dead_letter
from worker.outbox.publish import Message

KAFKA_LIMIT_BYTES = 1024 * 1024
REASON = Rejected(ErrorCode.INVALID_COMMAND, "The command cannot be read.", {"path": "a", "reason": "the grün one"})


def letter_of(record: ConsumerRecord, attempt: int = 1) -> Message:
    return dead_letter(record, "wallet.commands.dlq", REASON, attempt)


def size_in_kafka(message: Message) -> int:
    """How large a batch of this record alone is on the wire."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2 * KAFKA_LIMIT_BYTES)
    builder.append(0, 1_795_348_800_000, message.key, message.value, list(message.headers))
    return len(builder.build())


def test_a_dead_letter_says_what_was_wrong_and_where_the_record_stood():
    """Error, topic, partition, offset, timestamp and attempt, all as UTF-8 text."""
    letter = letter_of(command_record(b"\xff", key=b"k"), attempt=3)

    assert (letter.topic, letter.key, letter.value, letter.is_reply) == ("wallet.commands.dlq", b"k", b"\xff", False)
    assert {name: value.decode() for name, value in letter.headers if value is not None} == {
        "dlq_error_code": "InvalidCommand",
        "dlq_error_message": "The command cannot be read.: a: the grün one",
        "dlq_topic": "wallet.commands",
        "dlq_partition": "3",
        "dlq_offset": "1024",
        "dlq_timestamp": "1795348800000",
        "dlq_attempt": "3",
    }


@pytest.mark.parametrize(("key", "value"), [(None, None), (b"", b""), (None, b"x"), (b"k", None), (b"\xff\x00", b"\0")])
def test_key_and_value_stay_as_they_came(key, value):
    """Null is null, empty is empty."""
    letter = letter_of(command_record(value, key=key))

    assert (letter.key, letter.value) == (key, value)
    assert "dlq_truncated" not in dict(letter.headers)


@pytest.mark.parametrize(
    ("size", "truncated"),
    [(VALUE_BYTES_MAX - 1, False), (VALUE_BYTES_MAX, False), (VALUE_BYTES_MAX + 1, True), (10**7, True)],
)
def test_only_a_value_over_512_kib_is_cut(size, truncated):
    """Its first 512 KiB are kept, and `dlq_truncated: true` says so."""
    value = bytes(range(256)) * (size // 256 + 1)

    letter = letter_of(command_record(value[:size]))

    assert letter.value == value[: min(size, 512 * 1024)]
    assert dict(letter.headers).get("dlq_truncated") == (b"true" if truncated else None)


def test_headers_stay_as_they_came():
    """Null, binary, empty and repeated ones, in their order."""
    came_with = [("correlation_id", b"\x00\xff"), ("a", None), ("a", b""), ("", b"1"), ("é", "é".encode()), ("a", None)]

    letter = letter_of(command_record(b"", came_with))

    assert [header for header in letter.headers if not header[0].startswith("dlq_")] == came_with
    assert "dlq_truncated" not in dict(letter.headers)


def test_what_an_earlier_dead_letter_said_is_said_anew():
    """A replayed record that fails again has each of our headers once, and what it came with first beside them."""
    first = letter_of(command_record(b"x", [("correlation_id", b"1")]))

    again = letter_of(command_record(b"x", first.headers), attempt=2)

    names = [name for name, _ in again.headers]
    assert sorted(names) == sorted(set(names))
    assert dict(again.headers)["dlq_attempt"] == b"2"
    assert dict(again.headers)["correlation_id"] == b"1"
    assert "dlq_truncated" not in names


def test_a_record_that_was_cut_once_stays_marked():
    """What is missing from a value does not come back with a replay."""
    first = letter_of(command_record(b"x" * (VALUE_BYTES_MAX + 1)))

    again = letter_of(command_record(first.value, first.headers), attempt=2)

    assert ("dlq_truncated", b"true") in again.headers


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"x" * KAFKA_LIMIT_BYTES, []),
        (b"x" * KAFKA_LIMIT_BYTES, [("h", b"y" * 100_000)] * 9),
        (b"x" * KAFKA_LIMIT_BYTES, [("", None)] * 300_000),
        (b"x" * KAFKA_LIMIT_BYTES, [("é" * 100, None)] * 3_000),
        (b"x" * KAFKA_LIMIT_BYTES, [("💰" * 60_000, None)] * 4),
        (None, [("h", b"y" * 1_000_000)]),
    ],
    ids=["value", "large headers", "many empty headers", "wide names", "very wide names", "one header"],
)
def test_no_record_is_too_large_to_be_kept(value, headers):
    """Whatever it came with, its dead letter stays below Kafka's usual limit, and says that something is missing."""
    letter = letter_of(command_record(value, headers))

    assert size_in_kafka(letter) < KAFKA_LIMIT_BYTES
    assert ("dlq_truncated", b"true") in letter.headers


def test_nothing_of_ours_is_left_out_for_the_senders_headers():
    """However many there are, the reason is there."""
    letter = letter_of(command_record(b"", [("dlq_error_code", b"forged")] * 100_000))

    assert [value for name, value in letter.headers if name == "dlq_error_code"] == [b"InvalidCommand"]

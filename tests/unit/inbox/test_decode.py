"""Reading records: whatever a record holds, it is a command or a refusal that says where and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.commands import credit
from tests.support.received import (
    MAX_COMMAND_BYTES,
    REPLY_TOPICS,
    command_record,
    decode,
)
from tests.unit.contracts.support import faults
from worker.contracts.commands import COMMAND_TYPES, CreditWallet
from worker.contracts.replies import ErrorCode, Reply
from worker.domain.reading import REASON_CHARACTERS_MAX
from worker.inbox.decode import Refused, decode_record, find_command_id
from worker.ledger.decide_batch import Received

ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
OTHER_ID = "7a6f1c52-0b7e-4a43-9f0e-2d1f4c1b9e11"
WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"
GOOD = credit(WALLET, "12.5", commandId=ID)


def good(**changes) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def spelt(name: str, raw: str) -> bytes:
    """The good command with the field `name` written as the JSON text `raw`, however odd."""
    without = {key: value for key, value in GOOD.items() if key != name}
    return f'{json.dumps(without)[:-1]}, "{name}": {raw}}}'.encode()


def refused(value: bytes | None, headers=()) -> Refused:
    decoded = decode(value, headers)
    assert isinstance(decoded, Refused)
    return decoded


UNREADABLE = {
    "null": None,
    "empty": b"",
    "blank": b" \n",
    "not JSON": b"credit 5 to Ada",
    "one zero byte": b"\0",
    "cut off": good()[:-1],
    "cut off in a character": good(reference="é")[: good(reference="é").index(b"\\u00e9")] + "é".encode()[:1],
    "not UTF-8": good().replace(b"customer", b"\xff\xfe").replace(b"12.5", b"\xff"),
    "UTF-16": good().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + good(),
    "two commands": good() + good(),
    "comma at the end": good()[:-1] + b",}",
    "single quotes": good().replace(b'"', b"'"),
    "a raw zero byte in a text": good().replace(b"12.5", b"1\x00"),
    "lone surrogate": spelt("reference", '"\\ud800"'),
    "100,000 lists deep": b"[" * 100_000,
    "30,000 objects deep": b'{"a":' * 10_000 + good() + b"}" * 10_000,
    "deep metadata": spelt("metadata", '{"a":' * 5_000 + "1" + "}" * 5_000),
    "10 MB": good(reference="x" * 10_000_000),
    "one byte too many": good().ljust(MAX_COMMAND_BYTES + 1),
    "an integer of 5,000 digits": spelt("amount", "9" * 5_000),
    "number": b"5",
    "text": b'"' + ID.encode() + b'"',
    "list": b"[" + good() + b"]",
    "true": b"true",
    "JSON null": b"null",
    "NaN": b"NaN",
    "1e400": b"1e400",
    "empty object": b"{}",
    "no commandId": json.dumps({key: value for key, value in GOOD.items() if key != "commandId"}).encode(),
    "commandId null": good(commandId=None),
    "commandId a number": good(commandId=5),
    "commandId a list": good(commandId=[ID]),
    "commandId no UUID": good(commandId="5f0c8d0e"),
    "commandId without hyphens": good(commandId=ID.replace("-", "")),
    "commandId with blanks": good(commandId=f" {ID}"),
    "commandId with a line feed": good(commandId=f"{ID}\n"),
    "commandId with U+0000": good(commandId=f"{ID}\0"),
    "commandId in another case": json.dumps({**GOOD, "commandID": ID, "commandId": None}).encode(),
    "command_id": json.dumps({("command_id" if k == "commandId" else k): v for k, v in GOOD.items()}).encode(),
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_record_without_a_readable_command_id_is_refused_without_one(value):
    """It is answered with `commandId: null`; the reply is a whole reply all the same."""
    answer = refused(value)

    assert (answer.command_id, answer.type) == (None, None)
    assert answer.rejected.code is ErrorCode.INVALID_COMMAND
    assert set(answer.rejected.details) == {"path", "reason"}
    assert answer.rejected.details["reason"]
    assert faults(Reply, answer.reply) == []
    assert json.loads(answer.reply)["commandId"] is None


INVALID = {
    "unknown type": (good(type="PayOut"), ""),
    "type of an event": (good(type="WalletCredited"), ""),
    "type in small letters": (good(type="creditwallet"), ""),
    "no type": (json.dumps({k: v for k, v in GOOD.items() if k != "type"}).encode(), ""),
    "type a number": (good(type=5), ""),
    "unknown field": (good(note=1), "note"),
    "unknown field of a Python name": (good(wallet_id=WALLET), "wallet_id"),
    "U+0000 in a text": (good(reference="a\0b"), ""),
    "U+0000 deep in the metadata": (good(metadata={"a": [{"b": "\0"}]}), ""),
    "U+0000 in a name in the metadata": (good(metadata={"a\0": 1}), ""),
    "U+0000 in an unknown name": (good(**{"a\0": 1}), ""),
    "wallet id in capitals": (good(walletId=WALLET.upper()), "walletId"),
    "expectedVersion 2^63": (good(expectedVersion=2**63), "expectedVersion"),
    "expectedVersion 2^64": (good(expectedVersion=2**64), "expectedVersion"),
    "expectedVersion of 400 digits": (spelt("expectedVersion", "9" * 400), "expectedVersion"),
    "expectedVersion a float": (spelt("expectedVersion", "1.0"), "expectedVersion"),
    "expectedVersion NaN": (spelt("expectedVersion", "NaN"), "expectedVersion"),
    "expectedVersion below 0": (good(expectedVersion=-1), "expectedVersion"),
    "metadata with NaN": (spelt("metadata", '{"a": NaN}'), "metadata"),
    "metadata with 1e400": (spelt("metadata", '{"a": 1e400}'), "metadata"),
    "metadata with 2^64": (spelt("metadata", f'{{"a": {2**64}}}'), "metadata"),
    "metadata with 20 digits behind the point": (spelt("metadata", '{"a": [1.23456789012345678901]}'), "metadata.a.0"),
    "metadata with 1e-400": (spelt("metadata", '{"a": 1e-400}'), "metadata.a"),
    "amount twice": (spelt("amount", '"1", "amount": "1"'), "amount"),
    "amount twice, once in disguise": (spelt("amount", r'"1", "\u0061mount": "1"'), "amount"),
    "amount twice, with white space": (spelt("amount", '"1", "amount"\n:"1"'), "amount"),
    "amount twice, the last bad": (spelt("amount", '"1", "amount": 1.5'), "amount"),
    "commandId twice": (spelt("commandId", f'"{OTHER_ID}", "commandId": "{ID}"'), "commandId"),
    "type twice": (spelt("type", '"CreditWallet", "type": "CreditWallet"'), "type"),
    "a key of the metadata twice": (spelt("metadata", '{"a": {"b": 1, "b": 1}}'), "metadata.a.b"),
    "metadata with 1e-400, and a bad amount": (spelt("metadata", '{"a": 1e-400}, "amount": 1.5'), "amount"),
    "currency unknown": (good(currency="ABC"), "currency"),
    "time without a zone": (good(notAfter="2026-11-22T12:00:00"), "notAfter"),
    "time that overflows": (good(notAfter="0001-01-01T00:00:00+05:00"), "notAfter"),
    "duplicate id, the last bad wallet": (spelt("walletId", f'"{WALLET}", "walletId": "x"'), "walletId"),
}


@pytest.mark.parametrize(("value", "path"), INVALID.values(), ids=INVALID.keys())
def test_a_readable_command_that_is_not_valid_is_told_where_and_why(value, path):
    """The path as a sender writes it; a fault of the whole has an empty one."""
    answer = refused(value)

    assert answer.command_id == ID
    assert answer.rejected.code is ErrorCode.INVALID_COMMAND
    assert answer.rejected.details["path"] == path
    assert faults(Reply, answer.reply) == []


INVALID_AMOUNTS = {
    "float": "12.5",
    "float without a fraction": "5.0",
    "exponent": "1e2",
    "1e400": "1e400",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "zero": "0",
    "zero in text": '"0.0000"',
    "negative": "-1",
    "negative in text": '"-1"',
    "five places": '"1.00001"',
    "over the limit": '"100000000000000.0001"',
    "2^63": str(2**63),
    "2^64": str(2**64),
    "400 digits": "9" * 400,
    "true": "true",
    "null": "null",
    "list": "[]",
}


@pytest.mark.parametrize("raw", INVALID_AMOUNTS.values(), ids=INVALID_AMOUNTS.keys())
def test_an_amount_that_is_none_is_told_as_such(raw):
    """`InvalidAmount`, under the command's id and type."""
    answer = refused(spelt("amount", raw))

    assert (answer.command_id, answer.type) == (ID, "CreditWallet")
    assert answer.rejected.code is ErrorCode.INVALID_AMOUNT
    assert answer.rejected.details["path"] == "amount"
    assert faults(Reply, answer.reply) == []


@pytest.mark.parametrize(
    "value",
    [
        good(amount=1.5, note=1),
        good(amount=1.5, walletId="x"),
        good(amount=1.5, reference="\0"),
        good(amount=1.5, metadata={"\0": 1}),
        good(amount=1.5, commandId=ID.upper()),
        good(amount=1.5, notAfter="tomorrow"),
        good(amount=1.5, currency="usd"),
    ],
)
def test_a_bad_amount_is_told_only_where_all_else_is_good(value):
    """`InvalidCommand` comes before `InvalidAmount`."""
    assert refused(value).rejected.code is ErrorCode.INVALID_COMMAND


@pytest.mark.parametrize("value", [good(), good(amount=1.5), good(note=1), b"", None, b"\xff", good().ljust(10**6)])
def test_a_reply_topic_that_is_not_allowed_is_told_before_anything_else(value):
    """And a command that is good does not run."""
    answer = refused(value, [("reply_to", b"orders\n")])

    assert answer.rejected.code is ErrorCode.REPLY_TOPIC_NOT_ALLOWED
    assert answer.rejected.details == {"replyTopic": r"orders\n"}
    assert answer.envelope.reply_topic == "wallet.replies"


def test_the_refused_reply_topic_of_a_readable_command_is_told_under_its_id():
    """Its sender may listen on the default topic as well."""
    answer = refused(good(), [("reply_to", b"__consumer_offsets")])

    assert (answer.command_id, answer.type) == (ID, "CreditWallet")


@pytest.mark.parametrize("written", [ID.upper(), ID[:-1] + "F", ID.replace("c", "C")])
def test_a_command_id_in_capitals_is_readable_but_not_valid(written):
    """One command must not run under two spellings of its id; the answer has the only right one."""
    answer = refused(good(commandId=written))

    assert answer.command_id == written.lower()
    assert answer.rejected.code is ErrorCode.INVALID_COMMAND
    assert answer.rejected.details["path"] == "commandId"


@pytest.mark.parametrize(
    ("type_", "told"),
    [("CreditWallet", "CreditWallet"), ("PayOut", None), (5, None), (None, None), (["Transfer"], None)],
)
def test_a_type_is_told_only_if_there_is_one(type_, told):
    """A reply names a type of ours or none."""
    assert refused(good(type=type_, note=1)).type == told


@pytest.mark.parametrize("model", COMMAND_TYPES)
def test_every_type_is_told(model):
    """Each command's name is known where a refusal names it."""
    assert refused(good(type=model.__name__, note=1)).type == model.__name__


def test_a_good_command_comes_with_what_surrounded_it():
    """Headers, Kafka's timestamp as a time, and the record's key."""
    record = command_record(good(), [("correlation_id", b"c-1"), ("reply_to", b"wallet.replies.a")], key=b"k")

    read = decode_record(record, REPLY_TOPICS, MAX_COMMAND_BYTES)

    assert isinstance(read, Received)
    assert isinstance(read.command, CreditWallet)
    assert read.envelope.reply_topic == "wallet.replies.a"
    assert read.received_at == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert read.key == b"k"


@pytest.mark.parametrize(
    "value",
    [
        good().ljust(MAX_COMMAND_BYTES),
        b" \n\t" + good() + b"\r\n",
        good(reference="\\u0000"),
        good(metadata={"\\u0000": "\\u0000"}),
        json.dumps(GOOD, indent=4).encode(),
        good(reference="é💰\u2028"),
        json.dumps({**GOOD, "reference": "é💰"}, ensure_ascii=False).encode(),
        spelt("metadata", '{"a":' * 100 + "1" + "}" * 100),
        spelt("metadata", '{"a": 1.50, "b": [0.1, 1e2, 18446744073709551615]}'),
        good(reference='"a": 1, "a" : 1'),
    ],
    ids=[
        "as large as may be",
        "white space around",
        "six characters that spell U+0000",
        "the same in metadata",
        "indented",
        "characters escaped",
        "characters in UTF-8",
        "100 deep",
        "numbers",
        "a text that looks like keys",
    ],
)
def test_what_only_looks_odd_is_a_command(value):
    """Valid JSON is valid however it is spelt."""
    read = decode(value)

    assert isinstance(read, Received)
    assert read.command.command_id == ID


@pytest.mark.parametrize(
    "headers",
    [
        [("correlation_id", None)],
        [("correlation_id", b"\x00\xff" * 8), ("correlation_id", b"\xfe")],
        [("traceparent", b"\xff\xff")],
        [("\ufffd", b"\xff")],
        [("x", b"1")] * 10_000,
        [("dlq_attempt", b"many")],
    ],
    ids=["null", "binary", "broken trace", "broken name", "10,000", "no attempt"],
)
def test_odd_headers_do_not_make_a_command_odd(headers):
    """Null, binary and repeated headers are legal in Kafka."""
    assert isinstance(decode(good(), headers), Received)


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        (-1, "1970-01-01T00:00:00.000000Z"),
        (-(2**63), "1970-01-01T00:00:00.000000Z"),
        (1_795_348_800_123, "2026-11-22T12:00:00.123000Z"),
        (2**63 - 1, "9999-12-31T23:59:59.999000Z"),
    ],
)
def test_a_refusal_bears_the_records_own_time(timestamp, time):
    """So that it is repeated byte for byte; the sender chooses the number, and none is too odd."""
    record = command_record(b"", timestamp=timestamp)

    answers = [decode_record(record, REPLY_TOPICS, MAX_COMMAND_BYTES) for _ in range(2)]

    assert [json.loads(answer.reply)["processedAt"] for answer in answers if isinstance(answer, Refused)] == [time] * 2
    assert isinstance(decode_record(command_record(good(), timestamp=timestamp), REPLY_TOPICS, 999), Received)


def test_a_refusal_does_not_repeat_all_that_was_sent():
    """What a sender made long comes back short: place and reason are cut."""
    answer = refused(good(**{"x" * 60_000: 1}))

    assert answer.rejected.details["path"] == "x" * REASON_CHARACTERS_MAX
    assert len(answer.reply) < 1_000


def test_a_refusal_is_told_by_its_code():
    """The outcome that the stages behind see: not replayed, nothing made."""
    answer = refused(good(amount=1.5))

    assert answer.outcome.error_code == "InvalidAmount"
    assert answer.outcome.reply == answer.reply
    assert (answer.outcome.made, answer.outcome.events, answer.outcome.recorded) == ((), (), None)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (good(), ID),
        (b'{"commandId"\n :\t"' + ID.encode() + b'"', ID),
        (good() + good(), ID),
        (good(metadata={"commandId": ID}), ID),
        (good(metadata={"commandId": OTHER_ID}), None),
        (good(commandId=ID.upper()), None),
        (good(commandId="x"), None),
        (b"\xff" * 100, None),
        (b"", None),
        (None, None),
    ],
)
def test_the_id_of_a_record_that_must_not_be_parsed_is_found_where_there_is_one(value, found):
    """Of two different ones neither: a failure must not be recorded under another command's id."""
    assert find_command_id(value) == found


def test_a_key_that_comes_twice_in_a_part_is_told_with_its_place():
    """The index of the part is in the path."""
    part = f'{{"type": "CreditWallet", "walletId": "{WALLET}", "amount": "1"'
    group = f'{{"commandId": "{ID}", "type": "Atomic", "commands": [{part}}}, {part}, "amount": "1"}}]}}'

    assert refused(group.encode()).rejected.details["path"] == "commands.1.amount"


header_names = st.sampled_from(["correlation_id", "reply_to", "kafka_replyTopic", "traceparent", "dlq_attempt"])
any_headers = st.lists(st.tuples(header_names | st.text(max_size=5), st.none() | st.binary(max_size=300)), max_size=6)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from([*GOOD, "reference", "metadata", "notAfter", "currency", "expectedVersion"])
nearly_commands = st.builds(
    lambda changes: json.dumps({**GOOD, **changes}).encode(),
    st.dictionaries(field_names | st.text(max_size=4), json_like, max_size=3),
)
cut_commands = st.builds(lambda start, end: good()[start:end], st.integers(0, 3), st.integers(-3, 200))


@settings(deadline=None, max_examples=300)
@given(
    st.none() | st.binary(max_size=200) | nearly_commands | cut_commands,
    any_headers,
    st.integers(-(2**63), 2**63 - 1),
)
def test_reading_never_raises(value, headers, timestamp):
    """Whatever bytes, headers and timestamp: a command, or a refusal with a reply that is one."""
    read = decode_record(command_record(value, headers, timestamp=timestamp), REPLY_TOPICS, MAX_COMMAND_BYTES)

    if isinstance(read, Refused):
        assert faults(Reply, read.reply) == []
        assert json.loads(read.reply)["commandId"] == read.command_id
    else:
        assert len(read.fingerprint) == 16

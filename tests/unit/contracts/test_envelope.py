"""The headers: whatever a sender writes around a command, reading it gives a value."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.contracts.envelope import TOPIC_NAME_MAX, Envelope, ReplyTopics, read_envelope, reply_headers

TOPICS = ReplyTopics(
    default="wallet.replies",
    pattern=re.compile(r"^wallet\.replies(\..+)?$"),
    reserved=frozenset({"wallet.commands", "wallet.schedule", "wallet.commands.dlq"}),
)
ANY_TOPIC = ReplyTopics("wallet.replies", re.compile(".*", re.DOTALL), TOPICS.reserved)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"

known_names = st.sampled_from(
    ["correlation_id", "reply_to", "kafka_correlationId", "kafka_replyTopic", "traceparent", "dlq_attempt", "x"]
)
nearly_right = st.sampled_from([b"wallet.replies.a", b"wallet.replies\n", b"7", b"0", TRACEPARENT.encode(), b"\xff"])
any_headers = st.lists(
    st.tuples(known_names | st.text(max_size=5), st.none() | nearly_right | st.binary(max_size=400)), max_size=12
)


@settings(deadline=None, max_examples=500)
@given(any_headers, st.sampled_from([TOPICS, ANY_TOPIC]))
def test_reading_never_raises_and_never_answers_where_it_must_not(headers, topics):
    """Null, binary and repeated headers are legal in Kafka and never stop a batch."""
    envelope = read_envelope(headers, topics)

    assert envelope.reply_topic == topics.default or topics.allow(envelope.reply_topic)
    assert envelope.reply_topic not in topics.reserved
    assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", envelope.reply_topic)
    assert envelope.refused_reply_topic is None or envelope.reply_topic == topics.default
    assert (envelope.refused_reply_topic or "").isprintable()
    assert all(len(value) <= 256 for _, value in envelope.correlation)
    assert 1 <= envelope.attempt <= 9999
    assert "\0" not in (envelope.correlation_text or "")
    for name, value in reply_headers(envelope, ID, "accepted", replayed=True):
        assert isinstance(name, str)
        assert isinstance(value, bytes)


@pytest.mark.parametrize("headers", [[], (), [("other", b"1")], [("other", None)]])
def test_without_headers_of_ours_the_reply_goes_to_the_default_topic(headers):
    """All headers are optional."""
    assert read_envelope(headers, TOPICS) == Envelope("wallet.replies")


@pytest.mark.parametrize("name", ["correlation_id", "kafka_correlationId"])
@pytest.mark.parametrize("value", [b"order-1", b"", b"\x00\xff" * 8, b"x" * 256, "grün".encode()])
def test_a_correlation_id_is_given_back_byte_for_byte_under_its_name(name, value):
    """Spring's ids are 16 binary bytes; anything up to 256 bytes comes back as it came."""
    envelope = read_envelope([(name, value)], TOPICS)

    assert envelope.correlation == ((name, value),)
    assert (name, value) in reply_headers(envelope, ID, "accepted", replayed=False)


def test_both_correlation_ids_are_given_back():
    """Each under the name that it came with."""
    envelope = read_envelope([("kafka_correlationId", b"s"), ("correlation_id", b"f")], TOPICS)

    assert dict(envelope.correlation) == {"correlation_id": b"f", "kafka_correlationId": b"s"}
    assert envelope.correlation_text == "f"


@pytest.mark.parametrize("value", [b"x" * 257, b"x" * 100_000, None])
def test_a_correlation_id_that_is_too_long_or_null_is_dropped(value):
    """It is not cut: half an id would match nothing, or the wrong thing."""
    envelope = read_envelope([("correlation_id", value)], TOPICS)

    assert envelope.correlation == ()
    assert envelope.correlation_text is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"order-1", "order-1"),
        ("grün".encode(), "grün"),
        (b"\xff\x00", "ff00"),
        (b"a\x00b", "610062"),
        (b"", ""),
    ],
)
def test_a_correlation_id_that_is_no_storable_text_is_hexadecimal_in_the_event(value, text):
    """An event's metadata is text; Postgres takes no U+0000 in one."""
    envelope = read_envelope([("correlation_id", value)], TOPICS)

    assert envelope.correlation_text == text


@pytest.mark.parametrize(
    ("headers", "last"),
    [
        ([("correlation_id", b"1"), ("correlation_id", b"2")], (("correlation_id", b"2"),)),
        ([("correlation_id", b"1"), ("correlation_id", None)], None),
        ([("correlation_id", b"1"), ("correlation_id", b"x" * 257)], None),
    ],
)
def test_the_last_header_of_a_name_counts(headers, last):
    """Also where the last one is unusable."""
    envelope = read_envelope(headers, TOPICS)

    assert envelope.correlation == (last or ())


@pytest.mark.parametrize("name", ["reply_to", "kafka_replyTopic"])
@pytest.mark.parametrize("topic", ["wallet.replies", "wallet.replies.orders", "wallet.replies.a_b-C.9"])
def test_a_reply_goes_to_the_allowed_topic_that_was_named(name, topic):
    """Under either name."""
    envelope = read_envelope([(name, topic.encode())], TOPICS)

    assert envelope.reply_topic == topic
    assert envelope.refused_reply_topic is None


def test_reply_to_wins_over_springs_name():
    """Also where it names a topic that is not allowed."""
    allowed = [("reply_to", b"wallet.replies.a"), ("kafka_replyTopic", b"wallet.replies.b")]
    refused = [("reply_to", b"orders"), ("kafka_replyTopic", b"wallet.replies.b")]

    assert read_envelope(allowed, TOPICS).reply_topic == "wallet.replies.a"
    assert read_envelope(refused, TOPICS).refused_reply_topic == "orders"


def test_a_null_reply_to_says_nothing():
    """Null is no topic: Spring's header, or the default, takes its place."""
    envelope = read_envelope([("reply_to", None), ("kafka_replyTopic", b"wallet.replies.b")], TOPICS)

    assert envelope.reply_topic == "wallet.replies.b"
    assert read_envelope([("reply_to", None)], TOPICS) == Envelope("wallet.replies")


@pytest.mark.parametrize(
    "wanted",
    [
        b"orders",
        b"wallet.commands",
        b"wallet.repliesX",
        b"wallet.replies.",
        b"xwallet.replies",
        b"wallet.replies\n",
        b"wallet.replies.a\n",
        b"wallet.replies.a b",
        b"wallet.replies.a\x00",
        b"wallet.replies." + "ü".encode(),
        b"wallet.replies.\xff",
        b"wallet.replies." + b"a" * TOPIC_NAME_MAX,
        b"",
    ],
)
def test_any_other_reply_topic_is_refused_by_value(wanted):
    """The refusal goes to the default topic, and names what was asked for in ASCII and within a topic's length."""
    envelope = read_envelope([("reply_to", wanted)], TOPICS)

    assert envelope.reply_topic == "wallet.replies"
    assert envelope.refused_reply_topic is not None
    assert envelope.refused_reply_topic.isascii()
    assert len(envelope.refused_reply_topic) <= TOPIC_NAME_MAX


@pytest.mark.parametrize("topic", sorted(TOPICS.reserved))
def test_no_pattern_reaches_a_topic_that_the_worker_reads(topic):
    """A reply on a command topic would be read as a command, and answered, for ever."""
    envelope = read_envelope([("reply_to", topic.encode())], ANY_TOPIC)

    assert envelope.reply_topic == "wallet.replies"
    assert envelope.refused_reply_topic == topic


@pytest.mark.parametrize("topic", [".", "..", "__consumer_offsets", "__transaction_state", "__x"])
def test_no_pattern_reaches_a_name_that_is_kafkas_own(topic):
    """`.` and `..` are no topics, and names with two underscores are the brokers'."""
    envelope = read_envelope([("reply_to", topic.encode())], ANY_TOPIC)

    assert not ANY_TOPIC.allow(topic)
    assert envelope.reply_topic == "wallet.replies"
    assert envelope.refused_reply_topic == topic


@pytest.mark.parametrize("topic", ["...", ".a", "_a", "a__b", "_"])
def test_names_that_only_look_like_those_are_topics(topic):
    """Kafka takes them."""
    assert ANY_TOPIC.allow(topic)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (b"a\nb", r"a\nb"),
        (b"a\r\x1b[31mb\x00\x7f", r"a\r\x1b[31mb\x00\x7f"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("ü".encode(), r"\xc3\xbc"),
        (b"a\\n", r"a\\n"),
        (b"\n" * 1000, (r"\n" * 1000)[:TOPIC_NAME_MAX]),
        (b"a" * 1_000_000, "a" * TOPIC_NAME_MAX),
    ],
)
def test_a_refused_topic_is_told_in_printable_text(wanted, told):
    """It stands in a reply and in the log: control characters are escaped, and so is a backslash."""
    envelope = read_envelope([("reply_to", wanted)], TOPICS)

    assert envelope.refused_reply_topic == told
    assert told.isprintable()


@pytest.mark.parametrize("topic", ["answers-of-others", "all-answers", "answersanswers"])
def test_the_pattern_matches_the_whole_name(topic):
    """An operator who forgets the anchors opens no more topics than the pattern spells."""
    unanchored = ReplyTopics("wallet.replies", re.compile("answers"))

    assert read_envelope([("reply_to", b"answers")], unanchored).reply_topic == "answers"
    assert read_envelope([("reply_to", topic.encode())], unanchored).refused_reply_topic == topic


def test_the_default_topic_is_always_allowed():
    """Whatever the pattern says: it takes the replies of those who name none."""
    nothing_else = ReplyTopics("answers", re.compile("never"))

    envelope = read_envelope([("reply_to", b"answers")], nothing_else)

    assert envelope == Envelope("answers")


@pytest.mark.parametrize("value", [TRACEPARENT, TRACEPARENT.replace("-01", "-00"), "cc" + TRACEPARENT[2:]])
def test_a_traceparent_is_carried_on(value):
    """W3C trace context, of this version or a later one in the same form."""
    envelope = read_envelope([("traceparent", value.encode())], TOPICS)

    assert envelope.traceparent == value
    assert ("traceparent", value.encode()) in reply_headers(envelope, ID, "accepted", replayed=False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        None,
        TRACEPARENT.upper().encode(),
        TRACEPARENT[:-1].encode(),
        f"{TRACEPARENT}\n".encode(),
        f"{TRACEPARENT}-extra".encode(),
        f"ff{TRACEPARENT[2:]}".encode(),
        f"00-{'0' * 32}-b7ad6b7169203331-01".encode(),
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01".encode(),
    ],
)
def test_a_malformed_traceparent_is_dropped(value):
    """A broken trace is the tracer's trouble, not the command's."""
    assert read_envelope([("traceparent", value)], TOPICS) == Envelope("wallet.replies")


@pytest.mark.parametrize(("value", "attempt"), [(b"1", 1), (b"2", 2), (b"9999", 9999)])
def test_the_attempt_is_what_the_replay_wrote(value, attempt):
    """A replayed dead letter counts its attempts."""
    assert read_envelope([("dlq_attempt", value)], TOPICS).attempt == attempt


@pytest.mark.parametrize("value", [None, b"", b"0", b"-1", b"1.5", b"01", b"10000", b"2\n", "\u0662".encode(), b"\xff"])
def test_any_other_attempt_is_the_first(value):
    """Nobody but the replay writes this header, so anything else says nothing."""
    assert read_envelope([("dlq_attempt", value)], TOPICS).attempt == 1


def test_a_reply_says_whose_it_is_and_how_it_went():
    """`command_id` and `status`, so that a reader can skip without reading the value."""
    headers = reply_headers(Envelope("wallet.replies"), ID, "rejected", replayed=False)

    assert headers == [("command_id", ID.encode()), ("status", b"rejected")]


def test_a_reply_that_was_sent_before_says_so():
    """`replayed: true` when the reply belongs to a command that had run before."""
    headers = reply_headers(Envelope("wallet.replies"), ID, "accepted", replayed=True)

    assert ("replayed", b"true") in headers


def test_a_reply_to_what_could_not_be_read_has_no_command_id():
    """Missing rather than null: text that says "None" would be an id."""
    envelope = read_envelope([("correlation_id", b"c-1")], TOPICS)

    headers = reply_headers(envelope, None, "rejected", replayed=False)

    assert headers == [("correlation_id", b"c-1"), ("status", b"rejected")]


@pytest.mark.parametrize(
    ("value", "partition"),
    [
        (b"\x00\x00\x00\x00", 0),
        (b"\x00\x00\x01\x02", 258),
        (b"\x7f\xff\xff\xff", 2**31 - 1),
        (b"\xff\xff\xff\xff", None),
        (b"\x00\x00\x01", None),
        (b"\x00\x00\x00\x00\x01", None),
        (b"3", None),
        (b"", None),
        (None, None),
    ],
)
def test_a_reply_partition_is_four_bytes_as_spring_writes_them(value, partition):
    """Anything else is dropped: the key decides then."""
    assert read_envelope([("kafka_replyPartition", value)], TOPICS).reply_partition == partition


def test_a_partition_of_a_refused_topic_means_nothing():
    """The refusal goes to the default topic, by its key."""
    headers = [("reply_to", b"orders"), ("kafka_replyPartition", b"\x00\x00\x00\x01")]

    assert read_envelope(headers, TOPICS).reply_partition is None

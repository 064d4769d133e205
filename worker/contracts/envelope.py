"""The headers around a command and a reply: who asked, where the reply goes, what is given back.

Header values are bytes: null, binary and repeated ones are legal in Kafka and never stop a batch. The last of a name
counts. Nothing here raises on what a sender wrote: a refusal is a value (contract, "Kafka topics").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CORRELATION_ID = "correlation_id"
REPLY_TO = "reply_to"
SPRING_CORRELATION_ID = "kafka_correlationId"
SPRING_REPLY_TOPIC = "kafka_replyTopic"
SPRING_REPLY_PARTITION = "kafka_replyPartition"
TRACEPARENT = "traceparent"
COMMAND_ID = "command_id"
STATUS = "status"
REPLAYED = "replayed"
REPLY_TO_FAILED = "reply_to_failed"

DLQ_ERROR_CODE = "dlq_error_code"
DLQ_ERROR_MESSAGE = "dlq_error_message"
DLQ_TOPIC = "dlq_topic"
DLQ_PARTITION = "dlq_partition"
DLQ_OFFSET = "dlq_offset"
DLQ_TIMESTAMP = "dlq_timestamp"
DLQ_ATTEMPT = "dlq_attempt"
DLQ_TRUNCATED = "dlq_truncated"

CORRELATION_ID_BYTES_MAX = 256
KEY_BYTES_MAX = 128 * 1024
TOPIC_NAME_MAX = 249

Headers = Sequence[tuple[str, bytes | None]]

# Kafka's own rule for a name, without the names with two underscores, which are the brokers' own topics.
_legal_topic = re.compile(rf"(?!\.{{1,2}}\Z|__)[a-zA-Z0-9._-]{{1,{TOPIC_NAME_MAX}}}").fullmatch
_well_formed_traceparent = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch


@dataclass(frozen=True, slots=True)
class ReplyTopics:
    """Which reply topics a sender may name.

    `default` takes the replies of those who name none; `pattern` is `REPLY_TOPIC_PATTERN`; `reserved` are the topics
    that the worker itself reads, and never answers to.
    """

    default: str
    pattern: re.Pattern[str]
    reserved: frozenset[str] = frozenset()

    def allow(self, name: str) -> bool:
        """Whether replies may go to the topic `name`."""
        return name == self.default or (
            self.pattern.fullmatch(name) is not None and _legal_topic(name) is not None and name not in self.reserved
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a command record say.

    `reply_topic` is where the reply goes; `refused_reply_topic` is set, as printable text, where the sender named a
    topic that is not allowed (the reply then goes to the default one). `correlation` are the header names and bytes to
    give back. `attempt` is 1, or what `wallex dlq replay` wrote. `reply_partition` is the partition of the reply topic
    that the sender asked for.
    """

    reply_topic: str
    refused_reply_topic: str | None = None
    correlation: tuple[tuple[str, bytes], ...] = ()
    traceparent: str | None = None
    attempt: int = 1
    reply_partition: int | None = None

    @property
    def correlation_text(self) -> str | None:
        """The correlation id for an event's metadata: text, or hexadecimal where it is not storable as text."""
        if not self.correlation:
            return None
        value = self.correlation[0][1]
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value.hex()
        return value.hex() if "\0" in text else text


def read_envelope(headers: Headers, reply_topics: ReplyTopics) -> Envelope:
    """Read a command record's headers. Never raises: what cannot be used is dropped or refused by value."""
    if not headers:
        return Envelope(reply_topics.default)
    last = dict(headers)
    wanted = last.get(REPLY_TO)
    if wanted is None:
        wanted = last.get(SPRING_REPLY_TOPIC)
    topic, refused = _reply_topic(wanted, reply_topics)
    return Envelope(
        reply_topic=topic,
        refused_reply_topic=refused,
        correlation=tuple(_correlation(last)),
        traceparent=_traceparent(last.get(TRACEPARENT)),
        attempt=_attempt(last.get(DLQ_ATTEMPT)),
        reply_partition=_partition(last.get(SPRING_REPLY_PARTITION)) if refused is None else None,
    )


def fitting_key(key: bytes | None) -> bytes | None:
    """A record's key as it goes on to the reply and the dead letter: cut where it would make them too large to send."""
    return key if key is None else key[:KEY_BYTES_MAX]


def reply_headers(
    envelope: Envelope, command_id: str | None, status: str, *, replayed: bool
) -> list[tuple[str, bytes]]:
    """The headers of the reply to a command that came in `envelope`."""
    headers = list(envelope.correlation)
    if command_id is not None:
        headers.append((COMMAND_ID, command_id.encode()))
    headers.append((STATUS, status.encode()))
    if envelope.traceparent is not None:
        headers.append((TRACEPARENT, envelope.traceparent.encode()))
    if replayed:
        headers.append((REPLAYED, b"true"))
    return headers


def _reply_topic(wanted: bytes | None, reply_topics: ReplyTopics) -> tuple[str, str | None]:
    if wanted is None:
        return reply_topics.default, None
    name = wanted.decode("latin-1")
    if reply_topics.allow(name):
        return name, None
    # Printable: it is told the sender, and stands in the log.
    return reply_topics.default, name[:TOPIC_NAME_MAX].encode("unicode_escape").decode()[:TOPIC_NAME_MAX]


def _correlation(last: dict[str, bytes | None]) -> Iterable[tuple[str, bytes]]:
    for name in (CORRELATION_ID, SPRING_CORRELATION_ID):
        value = last.get(name)
        if value is not None and len(value) <= CORRELATION_ID_BYTES_MAX:
            yield name, value


def _traceparent(value: bytes | None) -> str | None:
    return value.decode() if value is not None and _well_formed_traceparent(value) else None


def _partition(value: bytes | None) -> int | None:
    """A partition as Spring writes it: four bytes, big endian. Anything else is dropped."""
    partition = int.from_bytes(value, signed=True) if value is not None and len(value) == 4 else -1
    return partition if partition >= 0 else None


def _attempt(value: bytes | None) -> int:
    # Four digits stay within the column; anything else was not written by `wallex dlq replay`.
    return int(value) if value is not None and re.fullmatch(rb"[1-9][0-9]{0,3}", value) else 1

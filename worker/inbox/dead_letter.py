"""The dead letter: a record that could not be run, kept with its bytes as they came and the reason beside them."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord

from worker.contracts import envelope
from worker.domain.rejections import Rejected
from worker.outbox.publish import Message

VALUE_BYTES_MAX = 512 * 1024
HEADER_BYTES_MAX = 256 * 1024
"""Of the headers that the record came with: with value and key this stays below Kafka's usual limit of a mebibyte."""
LETTER_BYTES_MAX = VALUE_BYTES_MAX + HEADER_BYTES_MAX + envelope.KEY_BYTES_MAX + 16 * 1024
"""The largest letter, with what the worker says in its headers."""
SHORTER_BY = 4
"""A topic that takes only smaller records does not say how small: the value is cut to a fraction each time."""
VALUE_BYTES_MIN = 1024
"""A value that would be cut to less is left out."""
HEADER_OVERHEAD_BYTES = 10
"""At most so much beside a header's name and value: their two lengths."""

_OUR_HEADERS = frozenset(
    {
        envelope.DLQ_ERROR_CODE,
        envelope.DLQ_ERROR_MESSAGE,
        envelope.DLQ_TOPIC,
        envelope.DLQ_PARTITION,
        envelope.DLQ_OFFSET,
        envelope.DLQ_TIMESTAMP,
        envelope.DLQ_ATTEMPT,
        envelope.DLQ_TRUNCATED,
    }
)


def dead_letter(record: ConsumerRecord, topic: str, rejected: Rejected, attempt: int) -> Message:
    """The record for the dead-letter topic `topic` (contract, "Kafka topics").

    The value is cut to `VALUE_BYTES_MAX`, the record's own headers to `HEADER_BYTES_MAX`, its key to
    `envelope.KEY_BYTES_MAX`; `dlq_truncated` says so.
    """
    headers: dict[str, str] = {
        envelope.DLQ_ERROR_CODE: rejected.code,
        envelope.DLQ_ERROR_MESSAGE: ": ".join([rejected.message, *map(str, rejected.details.values())]),
        envelope.DLQ_TOPIC: record.topic,
        envelope.DLQ_PARTITION: str(record.partition),
        envelope.DLQ_OFFSET: str(record.offset),
        envelope.DLQ_TIMESTAMP: str(record.timestamp),
        envelope.DLQ_ATTEMPT: str(attempt),
    }
    came_with, value = _within_limit(record, frozenset(headers)), record.value
    key, cut = envelope.fitting_key(record.key), value is not None and len(value) > VALUE_BYTES_MAX
    # What an earlier dead letter said of this record is said anew.
    fewer = len(came_with) < sum(name not in headers for name, _ in record.headers)
    if cut or fewer or key != record.key:
        headers[envelope.DLQ_TRUNCATED] = "true"
    return Message(
        topic=topic,
        key=key,
        value=value[:VALUE_BYTES_MAX] if cut else value,
        headers=[*((name, text.encode()) for name, text in headers.items()), *came_with],
        is_reply=False,
        time_ms=record.timestamp,
        shorten=shorten,
    )


def shorten(letter: Message) -> Message | None:
    """A smaller letter, for a topic that does not take one so large: less value, then none, then less of the rest.

    What the worker says of the record stays to the last; None where nothing else is left.
    """
    value, headers = letter.value, [header for header in letter.headers if header[0] in _OUR_HEADERS]
    if value is not None and len(value) >= SHORTER_BY * VALUE_BYTES_MIN:
        return _cut(letter, value=value[: len(value) // SHORTER_BY])
    if value is not None or len(headers) < len(letter.headers):
        return _cut(letter, value=None, headers=headers)
    return _cut(letter, key=None) if letter.key else None


def _cut(letter: Message, **changed: Any) -> Message:
    cut = letter._replace(**changed)
    headers = [header for header in cut.headers if header[0] != envelope.DLQ_TRUNCATED]
    return cut._replace(headers=[(envelope.DLQ_TRUNCATED, b"true"), *headers])


def _within_limit(record: ConsumerRecord, ours: frozenset[str]) -> list[tuple[str, bytes | None]]:
    kept, size = [], 0
    for name, value in record.headers:
        size += len(name.encode()) + len(value or b"") + HEADER_OVERHEAD_BYTES
        if size <= HEADER_BYTES_MAX and name not in ours:
            kept.append((name, value))
    return kept

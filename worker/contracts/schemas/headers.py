"""JSON Schemas of the headers around a command, a reply and a dead letter.

Kafka's header values are bytes. The schemas show them as the text that they are in UTF-8; the two correlation ids may
be any bytes. Headers that are not named here are legal everywhere.
"""

from __future__ import annotations

from typing import Any

from worker.contracts import envelope
from worker.contracts.fields import UUID_PATTERN
from worker.contracts.schemas.messages import identified

_CORRELATION = {
    envelope.CORRELATION_ID: {
        "description": "Given back byte for byte on the reply. At most 256 bytes, of any kind; longer: dropped.",
        "type": "string",
        "maxLength": envelope.CORRELATION_ID_BYTES_MAX,
    },
    envelope.SPRING_CORRELATION_ID: {
        "description": "The same in Spring Kafka's own name, 16 binary bytes as a rule. Given back under this name.",
        "type": "string",
        "maxLength": envelope.CORRELATION_ID_BYTES_MAX,
    },
}
_TRACEPARENT = {
    envelope.TRACEPARENT: {
        "description": "W3C trace context, carried on to the reply and the event's metadata; malformed: dropped.",
        "type": "string",
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    }
}
_ATTEMPT = {
    envelope.DLQ_ATTEMPT: {
        "description": "1, then one more with each replay of the dead letter.",
        "type": "string",
        "pattern": "^[1-9][0-9]{0,3}$",
    }
}
_DEAD_LETTER: dict[str, tuple[str, dict[str, Any]]] = {
    envelope.DLQ_ERROR_CODE: ("As in a reply's `error.code`.", {"minLength": 1}),
    envelope.DLQ_ERROR_MESSAGE: ("As in a reply's `error.message`.", {}),
    envelope.DLQ_TOPIC: (
        "The topic that the record came from.",
        {"minLength": 1, "maxLength": envelope.TOPIC_NAME_MAX},
    ),
    envelope.DLQ_PARTITION: ("Its partition there.", {"pattern": "^[0-9]+$"}),
    envelope.DLQ_OFFSET: ("Its offset there.", {"pattern": "^[0-9]+$"}),
    envelope.DLQ_TIMESTAMP: (
        "Its Kafka timestamp, in ms since 1970; -1 where it had none.",
        {"pattern": "^(-1|[0-9]+)$"},
    ),
}
_TRUNCATED = {
    envelope.DLQ_TRUNCATED: {
        "description": "There when the record's value was cut to its first 512 KiB, or its headers to 256 KiB.",
        "const": "true",
    }
}

COMMAND_HEADERS_EXAMPLE = {
    envelope.CORRELATION_ID: "order-4711",
    envelope.REPLY_TO: "wallet.replies.orders",
    envelope.TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
DEAD_LETTER_HEADERS_EXAMPLE = {
    envelope.DLQ_ERROR_CODE: "InvalidCommand",
    envelope.DLQ_ERROR_MESSAGE: "The record is not JSON.",
    envelope.DLQ_TOPIC: "wallet.commands",
    envelope.DLQ_PARTITION: "3",
    envelope.DLQ_OFFSET: "1024",
    envelope.DLQ_TIMESTAMP: "1795348800000",
    envelope.DLQ_ATTEMPT: "1",
    envelope.CORRELATION_ID: "order-4711",
}


def header_schemas(reply_pattern: str) -> dict[str, dict[str, Any]]:
    """The schemas by name, each with an example. `reply_pattern` is which reply topics a sender may name."""
    schemas = (command_headers(reply_pattern), reply_headers(), dead_letter_headers())
    return {schema["title"]: identified(f"headers:{schema['title']}", schema) for schema in schemas}


def command_headers(reply_pattern: str) -> dict[str, Any]:
    """What a sender may put around a command; nothing is required."""
    topic = {"type": "string", "pattern": reply_pattern, "maxLength": envelope.TOPIC_NAME_MAX}
    reply_to = "The topic for the reply. Any other than an allowed one is refused, and the command does not run."
    spring = "The same in Spring Kafka's own name; `reply_to` wins."
    properties = {
        **_CORRELATION,
        envelope.REPLY_TO: {"description": reply_to, **topic},
        envelope.SPRING_REPLY_TOPIC: {"description": spring, **topic},
        **_TRACEPARENT,
        **_ATTEMPT,
    }
    description = "The headers of a command record, all optional."
    return _headers("CommandHeaders", description, properties, [], COMMAND_HEADERS_EXAMPLE)


def reply_headers() -> dict[str, Any]:
    """What the worker puts around a reply."""
    command_id = "The command's; missing where the record could not be read."
    failed = "The topic that was asked for and did not take the reply, which is on the default topic instead."
    properties = {
        **_CORRELATION,
        envelope.COMMAND_ID: {"description": command_id, "type": "string", "pattern": UUID_PATTERN, "format": "uuid"},
        envelope.STATUS: {"description": "As in the reply.", "enum": ["accepted", "rejected"]},
        **_TRACEPARENT,
        envelope.REPLAYED: {"description": "There when the command had run before.", "const": "true"},
        envelope.REPLY_TO_FAILED: {"description": failed, "type": "string"},
    }
    example = reply_headers_example("5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01", "accepted")
    return _headers("ReplyHeaders", "The headers of a reply record.", properties, [envelope.STATUS], example)


def dead_letter_headers() -> dict[str, Any]:
    """What the worker puts around a record that it kept as a dead letter."""
    described = {name: {"description": text, "type": "string", **rest} for name, (text, rest) in _DEAD_LETTER.items()}
    return _headers(
        "DeadLetterHeaders",
        "The headers of a dead letter, besides every header that the record came with.",
        {**described, **_ATTEMPT, **_TRUNCATED},
        [*_DEAD_LETTER, envelope.DLQ_ATTEMPT],
        DEAD_LETTER_HEADERS_EXAMPLE,
    )


def reply_headers_example(command_id: str | None, status: str) -> dict[str, str]:
    """The headers of the reply to a command that came with `COMMAND_HEADERS_EXAMPLE`, as the worker writes them."""
    correlation = (envelope.CORRELATION_ID, COMMAND_HEADERS_EXAMPLE[envelope.CORRELATION_ID].encode())
    traceparent = COMMAND_HEADERS_EXAMPLE[envelope.TRACEPARENT]
    asked = envelope.Envelope("wallet.replies.orders", correlation=(correlation,), traceparent=traceparent)
    headers = envelope.reply_headers(asked, command_id, status, replayed=False)
    return {name: value.decode() for name, value in headers}


def _headers(
    title: str, description: str, properties: dict[str, Any], required: list[str], example: dict[str, str]
) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "examples": [example],
    }

"""`asyncapi.yaml`: the topics, what stands on them, and where replies go, as AsyncAPI 3.0.

Told from the worker's side: it receives commands, and sends replies and dead letters. Payloads and headers are
references to the JSON Schema files beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import Any

import yaml

from worker.contracts.envelope import CORRELATION_ID, REPLY_TO
from worker.contracts.fields import UUID_PATTERN
from worker.contracts.schemas.examples import EXAMPLES, Valid
from worker.contracts.schemas.headers import (
    COMMAND_HEADERS_EXAMPLE,
    DEAD_LETTER_HEADERS_EXAMPLE,
    reply_headers_example,
)
from worker.contracts.schemas.messages import COMMAND_MESSAGES, REPLY_MESSAGE, TICK_MESSAGES, Message

CONTRACT_VERSION = "1.0.0"
"""Of the contract, not of the package: raised when what travels changes."""

KAFKA_BINDING = "0.5.0"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic names that the document speaks of; `reply_pattern` is which reply topics a sender may name.

    `partitions` is how many the worker gives to a topic that it creates.
    """

    commands: str
    replies: str
    reply_pattern: str
    schedule: str
    dead_letters: str
    partitions: int


def asyncapi_yaml(topics: Topics) -> str:
    """Write the document as YAML, in the order in which one reads it."""
    document = {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": "application/json",
        "channels": _channels(topics),
        "operations": _operations(),
        "components": {"messages": _messages(), "correlationIds": _correlation_ids()},
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _info() -> dict[str, Any]:
    return {
        "title": "Wallex",
        "version": CONTRACT_VERSION,
        "description": "Wallet commands on Kafka, each run at most once in effect and answered by one reply. "
        "Order holds among commands with the same key: use the wallet id, and Kafka's own partitioner "
        "(murmur2; librdkafka: partitioner=murmur2_random).",
    }


def _channels(topics: Topics) -> dict[str, Any]:
    return {
        "commands": _channel(topics, topics.commands, "Commands from upstream services.", COMMAND_MESSAGES),
        "replies": _channel(
            topics, topics.replies, "Replies to those who named no topic of their own.", (REPLY_MESSAGE,)
        ),
        "requestedReplies": {
            "address": None,
            "description": f"The topic that the command's `{REPLY_TO}` header names (or Spring's `kafka_replyTopic`, "
            "in the partition of `kafka_replyPartition` where it exists), "
            f"one that matches {topics.reply_pattern}.",
            "messages": {"Reply": _message_ref("Reply")},
        },
        "schedule": _channel(topics, topics.schedule, "Ticks of the scheduler.", TICK_MESSAGES),
        "deadLetters": {
            "address": topics.dead_letters,
            "description": "Records that could not be read, and commands answered with InternalError.",
            "messages": {"DeadLetter": _message_ref("DeadLetter")},
            "bindings": _topic_bindings(topics),
        },
    }


def _channel(topics: Topics, address: str, description: str, messages: tuple[Message, ...]) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {message.name: _message_ref(message.name) for message in messages},
        "bindings": _topic_bindings(topics),
    }


def _topic_bindings(topics: Topics) -> dict[str, Any]:
    return {"kafka": {"partitions": topics.partitions, "bindingVersion": KAFKA_BINDING}}


def _message_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _operations() -> dict[str, Any]:
    return {
        "runCommand": {
            "action": "receive",
            "channel": {"$ref": "#/channels/commands"},
            "summary": "Run a command, at most once in effect, and reply to it.",
            "reply": {
                "address": {
                    "description": "Without the header the reply goes to the channel `replies`.",
                    "location": f"$message.header#/{REPLY_TO}",
                },
                "channel": {"$ref": "#/channels/requestedReplies"},
            },
        },
        "replyByDefault": {
            "action": "send",
            "channel": {"$ref": "#/channels/replies"},
            "summary": "Reply where no allowed topic was named, or the named one did not take the reply.",
        },
        "expireDueHolds": {
            "action": "receive",
            "channel": {"$ref": "#/channels/schedule"},
            "summary": "Find the holds that are due, and publish an ExpireHold for each on the channel `commands`.",
        },
        "keepDeadLetter": {
            "action": "send",
            "channel": {"$ref": "#/channels/deadLetters"},
            "summary": "Keep what could not be run, as it came.",
        },
    }


def _messages() -> dict[str, Any]:
    wallet_id = {
        "type": "string",
        "pattern": UUID_PATTERN,
        "description": "The wallet that the command is about; for a transfer, `fromWalletId`.",
    }
    as_it_came = {"type": "string", "description": "The command record's key."}
    commands = {message.name: _message(message, "CommandHeaders", wallet_id) for message in COMMAND_MESSAGES}
    reply = _message(REPLY_MESSAGE, "ReplyHeaders", as_it_came)
    ticks = {message.name: _tick(message) for message in TICK_MESSAGES}
    return {**commands, "Reply": reply, **ticks, "DeadLetter": _dead_letter(as_it_came)}


def _message(message: Message, headers: str, key: dict[str, Any]) -> dict[str, Any]:
    return {
        **_named(message),
        "headers": {"$ref": f"./headers/{headers}.json"},
        "payload": {"$ref": f"./{message.folder}/{message.name}.json"},
        "correlationId": {"$ref": "#/components/correlationIds/correlationId"},
        "bindings": _key_binding(key),
        "examples": [
            {**_shown(example), "headers": _headers(message, example), "payload": example.value}
            for example in _good_examples(message)
        ],
    }


def _tick(message: Message) -> dict[str, Any]:
    """A message without a key, and without headers that mean anything."""
    return {
        **_named(message),
        "payload": {"$ref": f"./{message.folder}/{message.name}.json"},
        "examples": [{**_shown(example), "payload": example.value} for example in _good_examples(message)],
    }


def _named(message: Message) -> dict[str, Any]:
    summary = getdoc(message.model)
    return {"name": message.name, "title": message.name, "summary": summary, "contentType": "application/json"}


def _good_examples(message: Message) -> Iterator[Valid]:
    return (example for example in EXAMPLES.get(message.name, ()) if isinstance(example, Valid))


def _shown(example: Valid) -> dict[str, str]:
    return {"name": example.name, "summary": example.why}


def _headers(message: Message, example: Valid) -> dict[str, str]:
    if message is REPLY_MESSAGE:
        return reply_headers_example(example.value["commandId"], example.value["status"])
    return COMMAND_HEADERS_EXAMPLE


def _dead_letter(key: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "DeadLetter",
        "title": "DeadLetter",
        "summary": "A record, exactly as it came, and why it was kept.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "./headers/DeadLetterHeaders.json"},
        "payload": {"type": "string", "description": "The bytes as they came; of more than 512 KiB the first 512 KiB."},
        "correlationId": {"$ref": "#/components/correlationIds/correlationId"},
        "bindings": _key_binding(key),
        "examples": [{"name": "not-json", "headers": DEAD_LETTER_HEADERS_EXAMPLE, "payload": '{"commandId": '}],
    }


def _key_binding(key: dict[str, Any]) -> dict[str, Any]:
    return {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}


def _correlation_ids() -> dict[str, Any]:
    return {
        "correlationId": {
            "description": "Given back byte for byte; Spring's `kafka_correlationId` likewise, under its own name.",
            "location": f"$message.header#/{CORRELATION_ID}",
        }
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a reader should find each thing where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

"""Records as Kafka brings them, and what the inbox makes of them: for tests behind Kafka."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from tests.support.commands import Command
from worker.contracts.envelope import ReplyTopics
from worker.inbox.decode import Refused, decode_record
from worker.ledger.decide_batch import Received

TIMESTAMP_MS = 1_795_348_800_000
"""2026-11-22T12:00:00Z"""
MAX_COMMAND_BYTES = 64 * 1024
REPLY_TOPICS = ReplyTopics(
    default="wallet.replies",
    pattern=re.compile(r"^wallet\.replies(\..+)?$"),
    reserved=frozenset({"wallet.commands", "wallet.schedule", "wallet.commands.dlq"}),
)

Headers = Sequence[tuple[str, bytes | None]]


def command_record(
    value: bytes | None, headers: Headers = (), *, key: bytes | None = None, timestamp: int = TIMESTAMP_MS
) -> ConsumerRecord:
    """A record as aiokafka gives it, from `wallet.commands`."""
    sizes = len(key or b""), len(value or b"")
    return ConsumerRecord("wallet.commands", 3, 1024, timestamp, 0, key, value, None, *sizes, tuple(headers))


def decode(value: bytes | None, headers: Headers = ()) -> Received | Refused:
    """What the inbox makes of a record with this value."""
    return decode_record(command_record(value, headers), REPLY_TOPICS, MAX_COMMAND_BYTES)


def received(command: Command, headers: Headers = (), *, key: bytes | None = None) -> Received:
    """A readable command, as the inbox hands it on."""
    record = command_record(json.dumps(command).encode(), headers, key=key)
    decoded = decode_record(record, REPLY_TOPICS, MAX_COMMAND_BYTES)
    assert isinstance(decoded, Received), decoded
    return decoded

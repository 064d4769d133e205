"""A dead letter, read: what it says of the record that it keeps, and that record's own key, value and headers.

Its value is not parsed: reading that record may be what killed a worker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import typer
from aiokafka import ConsumerRecord

from worker.contracts import envelope
from worker.contracts.envelope import Headers, ReplyTopics, read_envelope
from worker.contracts.times import from_milliseconds
from worker.inbox.decode import find_command_id

OWN_HEADERS = frozenset(
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
"""What the dead letter says; all other headers are those that the record came with."""

_place = re.compile(r"(\d{1,10}):(\d{1,19})").fullmatch
# Attempts are read as every record's are; of the rest of the envelope nothing is used.
_NO_TOPICS = ReplyTopics("", re.compile(""))


class Place(NamedTuple):
    """Where a dead letter stands in the dead-letter topic: the handle that the commands show and take."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `topic`, `partition` and `offset` are where the record came from, as the letter says.

    `attempt` is which attempt at the command failed. `is_truncated`: the record was too large to be kept whole.
    `command_id` is None where none can be found in the value. `headers` are all of them.
    """

    place: Place
    written_at: datetime
    code: str
    message: str
    topic: str
    partition: str
    offset: str
    attempt: int
    is_truncated: bool
    key: bytes | None
    value: bytes | None
    headers: Headers
    command_id: str | None


def read_place(text: str) -> Place:
    """The place that was typed; `typer.BadParameter` for any other text."""
    match = _place(text)
    if match is None:
        raise typer.BadParameter(f"{text!r}: expected PARTITION:OFFSET, such as 3:17, as `wallex dlq list` shows it.")
    return Place(int(match[1]), int(match[2]))


def read_letter(record: ConsumerRecord) -> Letter | None:
    """The dead letter that `record` is; None where it is something else."""
    said = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    if envelope.DLQ_ERROR_CODE not in said or envelope.DLQ_TOPIC not in said:
        return None
    return Letter(
        place=Place(record.partition, record.offset),
        written_at=from_milliseconds(record.timestamp),
        code=said[envelope.DLQ_ERROR_CODE],
        message=said.get(envelope.DLQ_ERROR_MESSAGE, ""),
        topic=said[envelope.DLQ_TOPIC],
        partition=said.get(envelope.DLQ_PARTITION, ""),
        offset=said.get(envelope.DLQ_OFFSET, ""),
        attempt=read_envelope(record.headers, _NO_TOPICS).attempt,
        is_truncated=said.get(envelope.DLQ_TRUNCATED) == "true",
        key=record.key,
        value=record.value,
        headers=record.headers,
        command_id=find_command_id(record.value),
    )

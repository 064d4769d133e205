"""Which of a topic's records ran: each command once, with the reply that it got; the others were refused or repeats.

Kept as the bytes that travelled, so that a million of them fit into memory.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord

from tests.support.answers import Answered, Answers
from tests.support.replies import header

MEANINGLESS = ("commandId", "notAfter")
BY_NAME = 5
"""Ids of this version are made from a name: those of the expiries that the worker publishes by itself."""


class Run(NamedTuple):
    """A command that ran. `key` is None where no order is promised; `made`: how many events of each wallet it made."""

    key: bytes | None
    command: bytes
    reply: str
    made: Mapping[str, int]


class Delivered(NamedTuple):
    """A readable record of the command topic, and what was told to its sender."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    answered: Answered


Stored = tuple[str, Mapping[str, int]]
"""A command's reply, and how many events of each wallet it made."""


def stored_run(row: Mapping[str, Any]) -> Stored:
    """What a row of `commands` says of its run."""
    return row["reply"], Counter(map(str, row["event_wallet_ids"]))


def first_runs(
    records: Iterable[ConsumerRecord],
    answers: Answers,
    planned: Mapping[bytes, str | None],
    stored: Mapping[str, Stored],
) -> list[Run]:
    """The commands that ran, in the order of their partitions.

    `planned` has, by correlation id, the code of those that must be refused at once; `stored` is by command
    id. Fails where a refusal or a repeat is not what it must be.
    """
    by_id: dict[str, list[Delivered]] = defaultdict(list)
    for record in records:
        answered = answers.to(record)
        assert answered is not None, f"the record at {record.partition}/{record.offset} has no reply"
        code = planned.get(header(record, "correlation_id") or b"")
        if code is not None:
            assert answered.code == code, f"{record.value!r} was answered with {answered.code}, expected {code}"
        else:
            delivered = Delivered(record.partition, record.offset, record.key, record.value, answered)
            by_id[answered.command_id].append(delivered)
    ran = sorted(((first_run(sorted(same, key=place)), id_) for id_, same in by_id.items()), key=lambda one: one[0][:2])
    return [Run(None if UUID(id_).version == BY_NAME else first.key, first.value, *stored[id_]) for first, id_ in ran]


def place(delivered: Delivered) -> tuple[int, int]:
    """Where a record stands."""
    return delivered.partition, delivered.offset


def first_run(same_id: Sequence[Delivered]) -> Delivered:
    """Of the records with one command id, the one that ran: the others repeat it, or are conflicts."""
    ran = [one for one in same_id if one.answered.code != "IdempotencyConflict"]
    assert ran, f"every use of a command id was answered with a conflict: {same_id}"
    first = ran[0]
    for other in same_id if len(same_id) > 1 else ():
        is_repeat = meaning(other.value) == meaning(first.value)
        assert is_repeat == (other.answered.code != "IdempotencyConflict"), (first, other)
        came_first = place(other) < place(first) and other.partition == first.partition
        assert not came_first, f"a later use of the id came before this one: {other}, {first}"
    return first


def meaning(value: bytes) -> dict[str, Any]:
    """What a command asks for: two that mean the same are one, however they are written."""
    return {name: asked for name, asked in json.loads(value).items() if name not in MEANINGLESS}

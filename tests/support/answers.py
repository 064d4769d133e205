"""What the senders were told: every reply to every record, kept small enough for a million of them.

A reply's content is kept as a digest only; what it says stands in Postgres, and is held against the digest.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from aiokafka import ConsumerRecord

from tests.support.replies import REFUSED_UNSTORED, code, header

NO_ID = ""
"""Stands for the command id of a record from which none can be read."""


@dataclass(slots=True)
class Answered:
    """The replies to one command id under one correlation id: one content, however often it was sent."""

    command_id: str
    digest: bytes
    code: str | None
    key: bytes | None
    times: int = 1


class Answers:
    """All replies of a run. `count` is how many were added, `repeats` how many of them said that they are repeats."""

    def __init__(self, replies: Iterable[ConsumerRecord] = ()) -> None:
        self.count = 0
        self.repeats = 0
        self.stored: dict[str, bytes] = {}
        """The digest of the one stored reply of each command id."""
        self._under: dict[bytes, list[Answered]] = defaultdict(list)
        self._different: list[str] = []
        for reply in replies:
            self.add(reply)

    def add(self, reply: ConsumerRecord) -> None:
        """Take a reply into account."""
        command_id = (header(reply, "command_id") or b"").decode()
        correlation_id = header(reply, "correlation_id") or b""
        said = digest(reply.value)
        self.count += 1
        self.repeats += header(reply, "replayed") == b"true"
        known = next((one for one in self._under[correlation_id] if one.command_id == command_id), None)
        if known is None:
            known = Answered(command_id, said, code(reply), reply.key)
            self._under[correlation_id].append(known)
        else:
            known.times += 1
            if (known.digest, known.key) != (said, reply.key):
                self._different.append(f"the record {correlation_id!r} ({command_id}) got different replies")
        is_stored = known.code not in REFUSED_UNSTORED and command_id != NO_ID
        if is_stored and self.stored.setdefault(command_id, said) != said:
            self._different.append(f"the command {command_id} got different replies")

    def to(self, record: ConsumerRecord) -> Answered | None:
        """What the sender of `record` was told; None where nothing was.

        An expiry is answered under the correlation id of its `PlaceHold`: then the command id tells them apart.
        """
        found = self._under.get(header(record, "correlation_id") or b"", [])
        if len(found) < 2:
            return found[0] if found else None
        command_id = read_command_id(record.value)
        return next((one for one in found if one.command_id == command_id), None)

    def violations(self, records: Iterable[ConsumerRecord]) -> Iterator[str]:
        """Each of `records` has a reply under its own key; what was told twice was the same."""
        yield from self._different
        asked: Counter[int] = Counter()
        for record in records:
            at = f"the record at {record.partition}/{record.offset}"
            answered = self.to(record)
            if answered is None:
                yield f"{at} has no reply"
                continue
            asked[id(answered)] += 1
            if answered.times < asked[id(answered)]:
                yield f"{at} has no reply of its own"
            if answered.key != record.key:
                yield f"{at} was answered under another key than its own"

    def stored_violations(self, commands: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        """Each row of `commands` has its reply told, byte for byte; no stored reply was told without a row."""
        rows = 0
        for row in commands:
            rows += 1
            said = self.stored.get(str(row["command_id"]))
            if said is None:
                yield f"the command {row['command_id']} ran, and its reply was never told"
            elif said != digest(row["reply"].encode()):
                yield f"the reply to {row['command_id']} is not the stored one"
        if rows < len(self.stored):
            yield f"{len(self.stored)} commands were told what became of them, and only {rows} are stored"


def digest(value: bytes) -> bytes:
    """What tells one content from another."""
    return blake2b(value, digest_size=16).digest()


def read_command_id(value: bytes | None) -> str:
    """The command id in a record's value; NO_ID where there is none to be read."""
    try:
        found = json.loads(value or b"null")
    except (ValueError, RecursionError):
        return NO_ID
    return str(found.get("commandId", NO_ID)) if isinstance(found, dict) else NO_ID

"""Checks an append against its stream, then writes it, finds that it was written before, or refuses it.

The rules are those of the real server's writer (ends of streams, expected revision, repeats by event id):
- at an exact revision or "no stream", the ids that stand behind it decide, for ever: all equal is a repeat, and a
  success;
- with "any" and "exists", ids are remembered for a while only, and not over a restart;
- a repeat of what is not durable yet is neither a success nor a refusal: the caller lets it time out.
"""

from __future__ import annotations

import json
import uuid
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from devstack.kurrentdb.index import SOFT_DELETED, Index, Stream
from devstack.kurrentdb.records import METADATA_TYPE, TOMBSTONE_REVISION, TOMBSTONE_TYPE, Proposed
from devstack.kurrentdb.store import Store

NO_STREAM, ANY, EXISTS = -1, -2, -4

# Ids remembered for "any" and "exists": the real server's 8 MiB hold about as many.
RECENT_IDS_MAX = 60_000


class Verdict(Enum):
    """What a check found."""

    WRITE = auto()
    REPEAT = auto()
    WRONG_REVISION = auto()
    DELETED = auto()


class Progress(Enum):
    """What is still to come before an answer."""

    SETTLED = auto()  # nothing: refused, or there since long
    NEW = auto()  # just written: wait until it is durable
    IN_FLIGHT = auto()  # another wrote the same, not durable yet: the real server drops this one, it times out


class Check(NamedTuple):
    """A verdict; of a repeat, the last event's ordinal; of a refusal, the stream's actual revision."""

    verdict: Verdict
    ordinal: int = -1
    actual: int = -1
    progress: Progress = Progress.SETTLED


@dataclass(frozen=True, slots=True)
class Written:
    """The last revision (-1: none), and the position (None: no longer readable)."""

    revision: int
    position: int | None
    progress: Progress = Progress.NEW


class Writer:
    """The one place that writes to a store; its calls never wait, so each sees all that were made before."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.index: Index = store.index
        self._recent: OrderedDict[bytes, int] = OrderedDict()

    def check(self, name: str, expected: int, ids: Sequence[bytes]) -> Check:
        """Decide about an append of events with these ids to the stream `name`; `expected` is a revision or a state."""
        stream = self.index.find(name)
        if stream is None:
            return self._check_missing(name, expected)
        if stream.revision == TOMBSTONE_REVISION:
            is_harmless = not ids and expected in (ANY, NO_STREAM)
            return Check(Verdict.WRITE if is_harmless else Verdict.DELETED, actual=stream.revision)
        if expected == EXISTS and (refusal := self._check_exists(stream)):
            return refusal
        if expected in (ANY, EXISTS):
            return self._check_recent(stream, ids)
        return self._check_revision(stream, expected, ids)

    def _check_revision(self, stream: Stream, expected: int, ids: Sequence[bytes]) -> Check:
        current = stream.revision
        if expected == current or (not ids and expected < current):
            return Check(Verdict.WRITE, actual=current)
        if expected > current:
            return Check(Verdict.WRONG_REVISION, actual=current)
        return self._check_repeat(stream, expected, ids)

    def _check_missing(self, name: str, expected: int) -> Check:
        has_metadata = expected == EXISTS and f"$${name}" in self.index.streams
        return Check(Verdict.WRITE if expected in (ANY, NO_STREAM) or has_metadata else Verdict.WRONG_REVISION)

    def _check_exists(self, stream: Stream) -> Check | None:
        if stream.is_soft_deleted:
            return Check(Verdict.DELETED, actual=stream.revision)
        if stream.revision < 0 and f"$${stream.name}" not in self.index.streams:
            return Check(Verdict.WRONG_REVISION)
        return None

    def _check_recent(self, stream: Stream, ids: Sequence[bytes]) -> Check:
        """Weak idempotency: by the ids that this process remembers."""
        ordinal = -1
        for count, event_id in enumerate(ids):
            found = self._recent.get(event_id, -1)
            if found < 0 or self.index.stream_of[found] != stream.number:
                return Check(Verdict.WRONG_REVISION if count else Verdict.WRITE, actual=stream.revision)
            ordinal = found
        return Check(Verdict.REPEAT, ordinal) if ids else Check(Verdict.WRITE, actual=stream.revision)

    def _check_repeat(self, stream: Stream, expected: int, ids: Sequence[bytes]) -> Check:
        """Strong idempotency: by the ids that stand behind the expected revision."""
        ordinals = stream.ordinals[expected + 1 : expected + 1 + len(ids)]
        for count, (ordinal, event_id) in enumerate(zip(ordinals, ids, strict=False)):
            if self.index.event_id(ordinal) != event_id:
                if count == 0 and expected == NO_STREAM and stream.is_soft_deleted:
                    return Check(Verdict.WRITE, actual=stream.revision)
                return Check(Verdict.WRONG_REVISION, actual=stream.revision)
        if len(ordinals) < len(ids):
            return Check(Verdict.WRONG_REVISION, actual=stream.revision)
        return Check(Verdict.REPEAT, ordinals[-1])

    def repeated(self, name: str, ordinal: int) -> Written:
        """What a repeat is answered with: where its last event was written the first time."""
        index = self.index
        stream = index.streams[name]
        revision = bisect_left(stream.ordinals, ordinal)
        is_readable = not stream.is_soft_deleted and revision >= index.first_revision(stream)
        return Written(revision, index.positions[ordinal] if is_readable else None, self.progress_of(ordinal))

    def progress_of(self, ordinal: int) -> Progress:
        """How far a repeated event is."""
        return Progress.SETTLED if ordinal < self.index.committed else Progress.IN_FLIGHT

    def write(self, events: Sequence[tuple[str, Proposed]]) -> int:
        """Write events that were checked; return the last one's position. Deleted streams that get events come back."""
        index = self.index
        pairs = [(index.open_stream(name), event) for name, event in events]
        deleted = self._deleted_streams(pairs)
        ordinals = self.store.write(pairs)
        for (_, event), ordinal in zip(pairs, ordinals, strict=True):
            self._recent[event.event_id] = ordinal
        while len(self._recent) > RECENT_IDS_MAX:
            self._recent.popitem(last=False)
        for stream, first_new in deleted:
            self._revive(stream, first_new)
        return index.positions[ordinals[-1]]

    def _deleted_streams(self, pairs: Sequence[tuple[Stream, Proposed]]) -> list[tuple[Stream, int]]:
        """Soft-deleted streams that these events, or new metadata among them, bring back; with their next revision."""
        deleted = {}
        for stream, _ in pairs:
            target = self.index.find(stream.name[2:]) if stream.name.startswith("$$") else stream
            if target is not None and target.metadata and target.is_soft_deleted:
                deleted[target.number] = (target, len(target.ordinals))
        return list(deleted.values())

    def _revive(self, stream: Stream, truncate_before: int) -> None:
        """Make a soft-deleted stream readable from `truncate_before` on; in the same frame as what went before."""
        self.store.write([self._metadata_event(stream, {**stream.metadata, "$tb": truncate_before})])

    def _metadata_event(self, stream: Stream, metadata: dict[str, object]) -> tuple[Stream, Proposed]:
        data = json.dumps(metadata, separators=(",", ":")).encode()
        event = Proposed(uuid.uuid4().bytes, METADATA_TYPE, True, b"", data)
        return self.index.open_stream(f"$${stream.name}"), event

    def append(self, name: str, expected: int, events: Sequence[Proposed]) -> Written | Check:
        """Append `events` to one stream: written now or before, or the Check that refused it."""
        check = self.check(name, expected, [event.event_id for event in events])
        if check.verdict is Verdict.REPEAT:
            return self.repeated(name, check.ordinal)
        if check.verdict is not Verdict.WRITE:
            return check
        if not events:
            return self._append_nothing(name, check.actual)
        position = self.write([(name, event) for event in events])
        return Written(len(self.index.streams[name].ordinals) - 1, position)

    def _append_nothing(self, name: str, current: int) -> Written:
        stream = self.index.open_stream(name)
        if stream.is_soft_deleted:
            self._revive(stream, len(stream.ordinals))
        return Written(current, self.store.write_nothing(stream))

    def delete(self, name: str, expected: int) -> Written | Check:
        """Delete softly: the events are no longer read, revisions go on from where they were."""
        check = self.check(name, expected, [uuid.uuid4().bytes])
        stream = self.index.find(name)
        if check.verdict is not Verdict.WRITE:
            return check
        if stream is None or stream.revision < 0:
            return Check(Verdict.WRONG_REVISION)
        (ordinal,) = self.store.write([self._metadata_event(stream, {**stream.metadata, "$tb": SOFT_DELETED})])
        return Written(stream.revision, self.index.positions[ordinal])

    def tombstone(self, name: str, expected: int) -> Written | Check:
        """End the stream for ever."""
        check = self.check(name, expected, [uuid.uuid4().bytes])
        if check.verdict is not Verdict.WRITE:
            return check
        event = Proposed(uuid.uuid4().bytes, TOMBSTONE_TYPE, False, b"", b"")
        (ordinal,) = self.store.write([(self.index.open_stream(name), event)])
        return Written(TOMBSTONE_REVISION, self.index.positions[ordinal])

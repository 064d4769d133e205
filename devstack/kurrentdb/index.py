"""What stands where: streams, revisions, ids and positions of every event, in memory, 40 to 60 bytes an event.

Events are counted in the order of the log (their *ordinal*); arrays hold what is known of each. Events at ordinals from
`committed` on are written but not yet durable: the writer sees them, readers do not. Nothing here does I/O.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from devstack.kurrentdb.records import METADATA_TYPE, TOMBSTONE_REVISION, TOMBSTONE_TYPE

NO_STREAM = -1
SOFT_DELETED = 2**63 - 1  # `$tb` of a deleted stream

# Streams that the real server keeps out of `$all`.
HIDDEN = ("$epoch-information",)


@dataclass(slots=True)
class Stream:
    """One stream: the ordinals of its events by revision, and what its metadata says."""

    name: str
    number: int
    ordinals: array[int] = field(default_factory=lambda: array("I"))
    tombstone: int = -1  # ordinal of the event that ended it for ever
    metadata: dict[str, object] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """The last revision, durable or not; -1: none; TOMBSTONE_REVISION: ended for ever."""
        return TOMBSTONE_REVISION if self.tombstone >= 0 else len(self.ordinals) - 1

    @property
    def is_soft_deleted(self) -> bool:
        return self.metadata.get("$tb") == SOFT_DELETED


class Index:
    """All streams and events; see the module."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.names: list[str] = []
        self.hidden: set[int] = set()
        self.types: list[str] = []
        self._type_numbers: dict[str, int] = {}
        self.positions = array("Q")
        self.bodies = array("I")  # where the answer begins, from the position
        self.lengths = array("I")
        self.stream_of = array("I")
        self.type_of = array("I")
        self._ids = bytearray()
        self.committed = 0

    def find(self, name: str) -> Stream | None:
        """The stream of that name, if anything was ever written to it."""
        return self.streams.get(name)

    def open_stream(self, name: str) -> Stream:
        """The stream of that name, made where it is missing."""
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream(name, len(self.names))
            self.names.append(name)
            if name.startswith(HIDDEN):
                self.hidden.add(stream.number)
        return stream

    def add(self, stream: Stream, event_id: bytes, event_type: str, *, position: int, body: int, length: int) -> int:
        """Take in an event that stands at `position`; return its ordinal."""
        ordinal = len(self.positions)
        self.positions.append(position)
        self.bodies.append(body)
        self.lengths.append(length)
        self.stream_of.append(stream.number)
        self.type_of.append(self._type_number(event_type))
        self._ids += event_id
        if event_type == TOMBSTONE_TYPE:
            stream.tombstone = ordinal
        else:
            stream.ordinals.append(ordinal)
        return ordinal

    def _type_number(self, event_type: str) -> int:
        number = self._type_numbers.get(event_type)
        if number is None:
            number = self._type_numbers[event_type] = len(self.types)
            self.types.append(event_type)
        return number

    def note_metadata(self, meta_stream: str, event_type: str, data: bytes) -> None:
        """Apply a `$metadata` event of `$$name` to the stream `name`; other events and bad JSON mean nothing."""
        if event_type != METADATA_TYPE or not meta_stream.startswith("$$"):
            return
        try:
            metadata = json.loads(data) if data else {}
        except ValueError:
            return
        if isinstance(metadata, dict):
            self.open_stream(meta_stream[2:]).metadata = metadata

    def event_id(self, ordinal: int) -> bytes:
        return bytes(self._ids[16 * ordinal : 16 * ordinal + 16])

    def is_tombstoned(self, name: str) -> bool:
        """Durably ended for ever; a metadata stream is so with the stream it describes."""
        stream = self.find(name.removeprefix("$$"))
        return stream is not None and 0 <= stream.tombstone < self.committed

    def last_revision(self, stream: Stream) -> int:
        """The last durable revision, -1 where there is none."""
        ordinals = stream.ordinals
        if not ordinals or ordinals[-1] < self.committed:
            return len(ordinals) - 1
        return bisect_left(ordinals, self.committed) - 1

    def first_revision(self, stream: Stream) -> int:
        """The lowest revision that may be read: `$tb`, `$maxCount`; one event of a metadata stream."""
        lowest = _whole_number(stream.metadata.get("$tb"), 0)
        last = self.last_revision(stream)
        max_count = 1 if stream.name.startswith("$$") else _whole_number(stream.metadata.get("$maxCount"), 0)
        return max(lowest, last - max_count + 1) if max_count else lowest

    def exists(self, stream: Stream | None) -> bool:
        """Whether a reader finds the stream: something durable was written, and it is not deleted."""
        return stream is not None and self.last_revision(stream) >= 0 and not stream.is_soft_deleted

    def ordinal_at(self, position: int) -> int:
        """The first ordinal at or after `position`."""
        return bisect_left(self.positions, position)

    def ordinal_after(self, position: int) -> int:
        """The first ordinal after `position`."""
        return bisect_right(self.positions, position)

    def is_boundary(self, position: int) -> bool:
        """Whether a read may begin at `position`: an event stands there, or nothing durable stands behind it."""
        ordinal = self.ordinal_at(position)
        return position == 0 or ordinal >= self.committed or self.positions[ordinal] == position


def _whole_number(value: object, default: int) -> int:
    return value if isinstance(value, int) and value >= 0 else default

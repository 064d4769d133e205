"""How an event stands in the log: a fixed header, stream name, event type, then the `ReadResp` message that shows it.

The answer to a read is built once, when the event is written, as protobuf bytes; reading is then slicing the log. The
field numbers are those of `event_store.client.streams` in the protos that `esdbclient` carries.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from esdbclient.protos.Grpc import streams_pb2

HEADER = struct.Struct("<III16s")  # length of the answer, of the name, of the type; event id

METADATA_TYPE = "$metadata"
TOMBSTONE_TYPE = "$streamDeleted"
LINK_TYPE = "$>"
TOMBSTONE_REVISION = 2**63 - 1
NO_EVENT = b""  # the event type of a record that only takes room: an append of nothing


class Proposed(NamedTuple):
    """An event as it is to be written."""

    event_id: bytes
    type: str
    is_json: bool
    metadata: bytes
    data: bytes


class Kind(NamedTuple):
    """What events of one type, content type and moment have in common: the type and the metadata map, encoded."""

    type: bytes
    metadata: bytes


class Record(NamedTuple):
    """A record of the log as it is found again; `body` is where its answer begins, counted from the record's begin."""

    size: int
    body: int
    event_id: bytes
    stream: str
    type: str


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = tuple(_varint(number) for number in range(1 << 14))


def varint(number: int) -> bytes:
    """Protobuf's varint of a number ≥ 0."""
    return _SMALL[number] if number < 1 << 14 else _varint(number)


def field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited protobuf field; `tag` is its number and wire type, already encoded."""
    return tag + varint(len(content)) + content


def encode_kind(event_type: str, is_json: bool, created_ticks: int) -> Kind:
    """The metadata map of a RecordedEvent: type, created (100 ns since 1970, in decimal) and content type."""
    name = event_type.encode()
    content_type = b"application/json" if is_json else b"application/octet-stream"
    entries = ((b"type", name), (b"created", b"%d" % created_ticks), (b"content-type", content_type))
    return Kind(name, b"".join(field(b"2", field(b"\n", key) + field(b"\x12", value)) for key, value in entries))


def uuid_text(event_id: bytes) -> bytes:
    """The usual text of a UUID: lower case, with hyphens."""
    text = event_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}".encode()


def encode_record(event: Proposed, stream: bytes, kind: Kind, revision: int, position: int) -> tuple[bytes, int]:
    """The record of an event that will stand at `position` of the log, and where in it the answer begins."""
    place = varint(position)
    recorded = b"".join((
        b"\n&\x12$", uuid_text(event.event_id),
        field(b"\x12", field(b"\x1a", stream)),
        b"\x18" + varint(revision) if revision else b"",
        b" ", place, b"(", place,
        kind.metadata,
        field(b":", event.metadata) if event.metadata else b"",
        field(b"B", event.data) if event.data else b"",
    ))  # fmt: skip
    answer = field(b"\n", field(b"\n", recorded) + b"\x18" + place)
    names = HEADER.pack(len(answer), len(stream), len(kind.type), event.event_id) + stream + kind.type
    return names + answer, len(names)


def encode_empty(stream: bytes) -> bytes:
    """The record of an append of nothing."""
    return HEADER.pack(0, len(stream), 0, bytes(16)) + stream


def decode_record(content: bytes, offset: int) -> Record:
    """The record at `offset` of a frame's content."""
    answer, name, kind, event_id = HEADER.unpack_from(content, offset)
    name_start = offset + HEADER.size
    type_start = name_start + name
    body = HEADER.size + name + kind
    return Record(
        body + answer, body, event_id,
        content[name_start:type_start].decode(), content[type_start : type_start + kind].decode(),
    )  # fmt: skip


def data_of(answer: bytes) -> bytes:
    """The event's data, out of its ready-made answer."""
    return streams_pb2.ReadResp.FromString(answer).event.event.data

"""Requests of AppendRecords, read: records as events, properties as JSON metadata, checks by stream.

Each record of a large request passes here, so what is the same for many of them is made once. Refusals are worded
like the real server's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from devstack.kurrentdb import errors, status
from devstack.kurrentdb.records import Proposed
from worker.outbox.protos import streams_v2_pb2 as v2

_FORMATS: dict[int, str] = {
    v2.SCHEMA_FORMAT_JSON: "Json", v2.SCHEMA_FORMAT_PROTOBUF: "Protobuf",
    v2.SCHEMA_FORMAT_AVRO: "Avro", v2.SCHEMA_FORMAT_BYTES: "Bytes",
}  # fmt: skip
_NAME = re.compile(r"[\w\-.:$]+")
_NAME_RULE = (
    "Schema name can only contain unicode letters, digits, underscores, dashes, periods, colons, and dollar signs."
)
EVENT_BYTES_MAX = 16 * 2**20


def read_checks(checks: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """The checks by stream: their index in the request and the expected state."""
    by_stream = {}
    folded = set()
    for index, check in enumerate(checks):
        state = check.stream_state
        by_stream[state.stream] = index, state.expected_state
        folded.add(state.stream.lower())
    if len(folded) < len(checks):
        raise status.bad_request(
            "AppendRecordsRequest", [("Checks", "Each stream can only appear once in consistency checks.")]
        )
    return by_stream


def read_records(records: Sequence[Any]) -> list[tuple[str, Proposed]]:
    """The records as events with their streams; end the call where one is not valid."""
    if not records:
        raise status.bad_request(
            "AppendRecordsRequest", [("Records", "Append records request must contain at least one record.")]
        )
    known: dict[tuple[str, int], str] = {}
    return [_read_record(record, known) for record in records]


def _read_record(record: Any, known: dict[tuple[str, int], str]) -> tuple[str, Proposed]:
    """One record; `known` keeps what was found of each schema, for the records after it."""
    schema = record.schema
    event_type, schema_format = schema.name, schema.format
    tail = known.get((event_type, schema_format))
    text = record.record_id
    try:
        event_id = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        event_id = b""
    if tail is None or len(event_id) != 16 or not any(event_id) or not record.stream:
        faults = _faults_of(record, event_id)
        if faults:
            raise status.bad_request("AppendRequest", faults)
        tail = known[event_type, schema_format] = _schema_metadata(event_type, schema_format)
    metadata = metadata_json(record.properties, tail)
    data = record.data
    if len(data) + len(metadata) + 2 * len(event_type) > EVENT_BYTES_MAX:
        raise errors.invalid(f"Event with Id: {text} exceeds Maximum Append Event Size of {EVENT_BYTES_MAX}.")
    return record.stream, Proposed(event_id, event_type, schema_format == v2.SCHEMA_FORMAT_JSON, metadata, data)


def _faults_of(record: Any, event_id: bytes) -> list[tuple[str, str]]:
    """What is wrong with a record: field and reason, worded like the real server."""
    faults = []
    if len(event_id) != 16 or not any(event_id):
        faults.append(("RecordId.Record ID", "Record ID must be a valid and non-empty UUID."))
    if not record.stream:
        faults.append(("Stream", "Stream must not be empty"))
    name = record.schema.name
    if not name:
        faults.append(("Schema.Name", "Schema name must not be empty"))
    if not _NAME.fullmatch(name):
        faults.append(("Schema.Name", f"{_NAME_RULE} Attempted Value: {name}"))
    if record.schema.format not in _FORMATS:
        faults.append(("Schema.Format.Schema format", "Schema format must not be Unspecified."))
    return faults


def _schema_metadata(event_type: str, schema_format: int) -> str:
    """What the server adds to the properties, as the end of a JSON object."""
    name, kind = f'"$schema.name": {json.dumps(event_type)}', f'"$schema.format": "{_FORMATS[schema_format]}"'
    return f"{name}, {kind} }}" if schema_format == v2.SCHEMA_FORMAT_JSON else f"{kind}, {name} }}"


def metadata_json(properties: Any, tail: str) -> bytes:
    """A record's properties as the JSON metadata that readers get, closed by `tail`."""
    parts = ["{ "]
    for key in properties:
        value = properties[key]
        text = value.string_value  # nearly always a text; empty means: look closer
        parts.append(f"{_quoted(key)}: {_quoted(text) if text else value_json(value)}, ")
    parts.append(tail)
    return "".join(parts).encode()


def value_json(value: Any) -> str:
    """A google.protobuf.Value as JSON, spaced as the real server does."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        inner = ", ".join(f"{_quoted(key)}: {value_json(fields[key])}" for key in fields)
        return f"{{ {inner} }}" if inner else "{ }"
    if kind == "list_value":
        inner = ", ".join(map(value_json, value.list_value.values))
        return f"[ {inner} ]" if inner else "[ ]"
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return _quoted(value.string_value) if kind == "string_value" else "null"


_quoted = json.encoder.encode_basestring

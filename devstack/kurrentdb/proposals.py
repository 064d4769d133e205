"""Requests of the first protocol, read: stream names, expected revisions, event ids, proposed events."""

from __future__ import annotations

import uuid
from typing import Any

from devstack.kurrentdb import errors
from devstack.kurrentdb.records import Proposed
from devstack.kurrentdb.writer import ANY, EXISTS, NO_STREAM

_STATES = {"no_stream": NO_STREAM, "any": ANY, "stream_exists": EXISTS}


class ProposalError(Exception):
    """An event that cannot be written: `missing` names the metadata key that is not there, if that is why."""

    def __init__(self, reason: str, missing: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missing = missing


def stream_name(identifier: Any) -> str:
    """The stream's name; the call ends as on a thrown exception where there is none."""
    name = identifier.stream_name
    if not name:
        raise errors.unhandled()
    try:
        return str(name, "utf-8")
    except UnicodeDecodeError:
        raise errors.unhandled() from None


def expected_of(options: Any, oneof: str) -> int | None:
    """The expected revision or state in a request's options; None where it says nothing."""
    chosen = options.WhichOneof(oneof)
    if chosen is None:
        return None
    return _STATES[chosen] if chosen in _STATES else getattr(options, chosen)


def event_id(message: Any) -> bytes:
    """The 16 bytes of a UUID message; raise ProposalError where it is none, or all zero."""
    if message.WhichOneof("value") == "structured":
        halves = message.structured
        value = _unsigned(halves.most_significant_bits) + _unsigned(halves.least_significant_bits)
    else:
        try:
            value = uuid.UUID(message.string).bytes
        except ValueError:
            raise ProposalError(f"Unrecognized Guid format: '{message.string}'.") from None
    if not any(value):
        raise ProposalError("Empty eventId provided. (Parameter 'eventId')")
    return value


def proposed_event(message: Any) -> Proposed:
    """A proposed message as an event; raise ProposalError where it cannot be written."""
    metadata = message.metadata
    for key in ("type", "content-type"):
        if key not in metadata:
            raise ProposalError(
                f'Status(StatusCode="InvalidArgument", Detail="Required Metadata Property \'{key}\' is missing")', key
            )
    if not metadata["type"]:
        raise ProposalError("Empty eventType provided. (Parameter 'eventType')")
    is_json = metadata["content-type"] == "application/json"
    return Proposed(event_id(message.id), metadata["type"], is_json, message.custom_metadata, message.data)


def _unsigned(half: int) -> bytes:
    return half.to_bytes(8, "big", signed=True)

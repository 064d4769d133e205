"""Events as messages of a Read call: as they stand in the log, or made anew where the caller wants something else.

Made anew are events whose ids are wanted in two halves, and links that are to be followed (`resolve_links`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from esdbclient.protos.Grpc import streams_pb2

from devstack.kurrentdb import errors
from devstack.kurrentdb.records import LINK_TYPE, field, varint
from devstack.kurrentdb.store import Store


class Renderer:
    """Makes a read's messages, as its options want them."""

    def __init__(self, store: Store, options: Any) -> None:
        """Raise CallError where the options do not say how ids are wanted."""
        uuid_option = options.uuid_option.WhichOneof("content")
        if uuid_option is None:
            raise errors.invalid("UUID option is missing.")
        self._store = store
        self._in_halves = uuid_option == "structured"
        self._follow_links = options.resolve_links

    def render(self, ordinals: Sequence[int]) -> list[bytes]:
        """The message of each event."""
        answers = self._store.answers(ordinals)
        if not self._in_halves and not self._follow_links:
            return answers
        return [self._remade(ordinal, answer) for ordinal, answer in zip(ordinals, answers, strict=True)]

    def _remade(self, ordinal: int, answer: bytes) -> bytes:
        index = self._store.index
        is_link = index.types[index.type_of[ordinal]] == LINK_TYPE
        if not self._in_halves and not is_link:
            return answer
        response = streams_pb2.ReadResp.FromString(answer)
        if is_link and self._follow_links:
            self._follow(response.event)
        if self._in_halves:
            for part in ("event", "link"):
                if response.event.HasField(part):
                    _halve(getattr(response.event, part).id)
        return response.SerializeToString()

    def _follow(self, event: Any) -> None:
        """Put the link's target in its place; a target that is gone leaves the link alone."""
        event.link.CopyFrom(event.event)
        event.ClearField("event")
        revision, _, name = event.link.data.decode(errors="replace").partition("@")
        index = self._store.index
        stream = index.find(name)
        if stream is None or not revision.isdecimal() or not index.exists(stream):
            return
        if index.first_revision(stream) <= int(revision) <= index.last_revision(stream):
            (answer,) = self._store.answers([stream.ordinals[int(revision)]])
            event.event.CopyFrom(streams_pb2.ReadResp.FromString(answer).event.event)


def _halve(event_id: Any) -> None:
    value = uuid.UUID(event_id.string).bytes
    event_id.structured.most_significant_bits = int.from_bytes(value[:8], "big", signed=True)
    event_id.structured.least_significant_bits = int.from_bytes(value[8:], "big", signed=True)


def confirmation() -> bytes:
    """The first message of every subscription."""
    return streams_pb2.ReadResp(
        confirmation=streams_pb2.ReadResp.SubscriptionConfirmation(subscription_id=str(uuid.uuid4()))
    ).SerializeToString()


def stream_not_found(name: str) -> bytes:
    """The only message of a read of a stream that is not there."""
    response = streams_pb2.ReadResp()
    response.stream_not_found.stream_identifier.stream_name = name.encode()
    return response.SerializeToString()


# Newer servers put a time and a place into these two; the messages that esdbclient carries have no fields for them.


def checkpoint(commit_position: int, prepare_position: int) -> bytes:
    """How far a filtered subscription has come."""
    return field(b"\x1a", _position(commit_position, prepare_position) + field(b"\x1a", _now()))


def caught_up_all(position: int) -> bytes:
    """A subscription of `$all` has reached the end of the log."""
    return field(b"B", field(b"\n", _now()) + field(b"\x1a", _position(position, position)))


def caught_up_stream(revision: int) -> bytes:
    """A subscription of a stream has reached its end; revision -1: it is empty."""
    return field(b"B", field(b"\n", _now()) + (b"\x10" + varint(revision) if revision >= 0 else b""))


def _position(commit: int, prepare: int) -> bytes:
    return b"\x08" + varint(commit) + (b"\x10" + varint(prepare) if prepare else b"")


def _now() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return b"\x08" + varint(seconds) + b"\x10" + varint(nanoseconds)

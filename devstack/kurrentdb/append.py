"""The first protocol's writing calls of one stream: Append, Delete and Tombstone (BatchAppend: see `batch`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from esdbclient.protos.Grpc import streams_pb2

from devstack.kurrentdb import errors
from devstack.kurrentdb.appends import Appends, Lost
from devstack.kurrentdb.proposals import ProposalError, expected_of, proposed_event, stream_name
from devstack.kurrentdb.records import Proposed
from devstack.kurrentdb.replies import append_reply
from devstack.kurrentdb.writer import Check, Verdict, Writer, Written

EXPECTED = "expected_stream_revision"


class AppendCalls:
    """The calls, over one Appends; each takes the request's bytes, and returns the answer's."""

    def __init__(self, appends: Appends) -> None:
        self._appends = appends

    async def append(self, requests: AsyncIterator[bytes], _context: object) -> bytes:
        """Append all events of the call to one stream, all or none."""
        options, events = None, []
        async for request in requests:
            if len(request) > errors.MESSAGE_BYTES_MAX:
                raise errors.too_large()
            message = streams_pb2.AppendReq.FromString(request)
            if message.WhichOneof("content") == "options":
                options = message.options
            else:
                events.append(_event(message.proposed_message))
        if options is None:
            raise errors.unhandled()
        name, expected = _target(options)
        result = await self._run(name, lambda writer: writer.append(name, expected, events))
        return append_reply(expected, result)

    async def delete(self, request: bytes, _context: object) -> bytes:
        """Delete a stream softly: its revisions go on where they were when it is written again."""
        position = await self._remove(streams_pb2.DeleteReq.FromString(request).options, Writer.delete)
        return _at(streams_pb2.DeleteResp(), position)

    async def tombstone(self, request: bytes, _context: object) -> bytes:
        """End a stream for ever."""
        position = await self._remove(streams_pb2.TombstoneReq.FromString(request).options, Writer.tombstone)
        return _at(streams_pb2.TombstoneResp(), position)

    async def _remove(self, options: Any, remove: Callable[[Writer, str, int], Written | Check]) -> int:
        name, expected = _target(options)
        result = await self._run(name, lambda writer: remove(writer, name, expected))
        if isinstance(result, Check):
            raise errors.delete_refused(name, expected, result.actual)
        return result.position or 0

    async def _run(self, name: str, write: Callable[[Writer], Written | Check]) -> Written | Check:
        """The outcome of a write, or the error that ends the call."""
        outcome = await self._appends.run(write)
        if outcome is Lost.CUT:
            raise errors.cut()
        if outcome is Lost.TIMEOUT:
            raise errors.CallError(grpc.StatusCode.ABORTED, "Operation timed out: Commit phase timeout.")
        if isinstance(outcome, Check) and outcome.verdict is Verdict.DELETED:
            raise errors.stream_deleted(name)
        return outcome


def _target(options: Any) -> tuple[str, int]:
    expected = expected_of(options, EXPECTED)
    if expected is None:
        raise errors.unhandled()
    return stream_name(options.stream_identifier), expected


def _event(message: Any) -> Proposed:
    try:
        return proposed_event(message)
    except ProposalError as error:
        raise (errors.metadata_missing(error.missing) if error.missing else errors.unhandled()) from error


def _at(reply: Any, position: int) -> bytes:
    reply.position.commit_position = reply.position.prepare_position = position
    return bytes(reply.SerializeToString())

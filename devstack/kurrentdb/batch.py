"""BatchAppend: many appends over one call, each answered by its correlation id.

Requests are read by a task of their own and reach the writer in the order sent; answers leave when each is known, so a
refusal overtakes the successes before it. After the client's half-close one more answer is sent and the call ends: the
others in flight stay unanswered, and with none in flight it never ends. That is the real server's way, kept on purpose.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from esdbclient.protos.Grpc import streams_pb2

from devstack.kurrentdb import errors
from devstack.kurrentdb.appends import Appends, Lost
from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.proposals import ProposalError, expected_of, proposed_event, stream_name
from devstack.kurrentdb.records import Proposed
from devstack.kurrentdb.replies import BatchReply
from devstack.kurrentdb.writer import Check, Written

# The real server's write time-out: a longer deadline, or none, does not extend it.
DEADLINE_MAX_S = 2.0

# The most that one append may hold over all its chunks, in bytes of data and metadata.
APPEND_BYTES_MAX = 256 * 2**20


@dataclass
class Chunks:
    """An append whose last chunk has not come yet; `deadline` is the monotonic time by which it must."""

    name: str
    expected: int
    reply: BatchReply
    deadline: float
    events: list[Proposed] = field(default_factory=list)
    size: int = 0


class BatchAppendCall:
    """One call of BatchAppend."""

    def __init__(self, appends: Appends, faults: Faults) -> None:
        self._appends = appends
        self._faults = faults
        self._open: dict[bytes, Chunks] = {}
        self._replies: asyncio.Queue[bytes | BaseException] = asyncio.Queue()
        self._is_half_closed = False

    async def answers(self, requests: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
        """Yield the answers until one has followed the half-close."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(self._hand_over_failure)
        try:
            while True:
                reply = await self._replies.get()
                if isinstance(reply, BaseException):
                    raise reply
                is_last = self._is_half_closed
                yield [reply]
                if is_last:
                    return
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        """Take requests until the client closes its side."""
        async for request in requests:
            if len(request) > errors.MESSAGE_BYTES_MAX:
                raise errors.too_large()
            self._take(streams_pb2.BatchAppendReq.FromString(request))
        self._is_half_closed = True

    def _hand_over_failure(self, reader: asyncio.Task[None]) -> None:
        """What breaks the reading ends the call."""
        if not reader.cancelled() and (failure := reader.exception()) is not None:
            self._replies.put_nowait(failure)

    def _take(self, request: Any) -> None:
        key = request.correlation_id.SerializeToString()
        chunks = self._open.get(key)
        if chunks is None and not request.HasField("options"):
            return  # a chunk of an unknown append: the real server says nothing
        try:
            if chunks is None:
                chunks = self._open[key] = _first_chunk(request)
            self._add(chunks, request)
        except (ProposalError, errors.CallError) as error:
            self._open.pop(key, None)
            self._replies.put_nowait(_reply_to(request).bad_request(str(error)))
            return
        if request.is_final or chunks.size > APPEND_BYTES_MAX:
            del self._open[key]
            self._submit(chunks)

    def _add(self, chunks: Chunks, request: Any) -> None:
        for message in request.proposed_messages:
            chunks.events.append(proposed_event(message))
            chunks.size += len(message.data) + len(message.custom_metadata)

    def _submit(self, chunks: Chunks) -> None:
        reply = chunks.reply
        if not self._faults.is_ready:
            self._replies.put_nowait(reply.not_ready())
        elif chunks.size > APPEND_BYTES_MAX:
            self._replies.put_nowait(reply.too_large(APPEND_BYTES_MAX))
        elif time.monotonic() >= chunks.deadline:
            self._replies.put_nowait(reply.timeout())
        else:
            self._appends.submit(
                lambda writer: writer.append(chunks.name, chunks.expected, chunks.events),
                lambda outcome: self._answer(reply, outcome),
            )

    def _answer(self, reply: BatchReply, outcome: Written | Check | Lost) -> None:
        if outcome is Lost.CUT:
            self._replies.put_nowait(errors.cut())
        elif outcome is Lost.TIMEOUT:
            self._replies.put_nowait(reply.timeout())
        else:
            self._replies.put_nowait(reply.result(outcome))


def _first_chunk(request: Any) -> Chunks:
    """Open an append; raise ProposalError where its options or correlation id are incomplete."""
    options = request.options
    expected = expected_of(options, "expected_stream_position")
    if request.correlation_id.WhichOneof("value") is None:
        raise ProposalError("Correlation id is missing.")
    if expected is None:
        raise ProposalError("Expected stream position is missing.")
    if not options.HasField("stream_identifier"):
        raise ProposalError("Stream identifier is missing.")
    reply = BatchReply(request.correlation_id, options.stream_identifier, expected)
    return Chunks(stream_name(options.stream_identifier), expected, reply, time.monotonic() + _deadline_s(options))


def _reply_to(request: Any) -> BatchReply:
    """An answer to a request that may lack anything."""
    options = request.options
    return BatchReply(
        request.correlation_id if request.HasField("correlation_id") else None,
        options.stream_identifier if options.HasField("stream_identifier") else None,
        expected_of(options, "expected_stream_position"),
    )


def _deadline_s(options: Any) -> float:
    """Seconds in which the last chunk must come."""
    chosen = options.WhichOneof("deadline_option")
    asked_s = DEADLINE_MAX_S
    if chosen == "deadline":
        asked_s = options.deadline.seconds + options.deadline.nanos / 1e9
    elif chosen == "deadline_21_10_0":
        until = options.deadline_21_10_0
        asked_s = until.seconds + until.nanos / 1e9 - time.time()
    return min(asked_s, DEADLINE_MAX_S)

"""The real stand-in behind gates: one connection for all, of which each core has its own view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc

from interleave.gates import Actor, Do, Fault, Gates, current_actor
from worker.contracts.events import STREAM_PREFIX
from worker.outbox import append_records, append_to_stream
from worker.outbox.append_records import NEVER_WRITTEN, STATUS_TRAILER
from worker.outbox.connection import Connection, connect
from worker.outbox.protos import rpc_status_pb2, streams_v2_errors_pb2


class KurrentDB:
    """The server. `has_append_records`: whether it has the call for many streams, in this scene."""

    def __init__(self, gates: Gates, uri: str) -> None:
        self._gates = gates
        self._uri = uri
        self._real: Connection | None = None
        self.has_append_records = True
        self.blind: set[tuple[str, int]] = set()
        """Streams, and the revisions behind which an actor appended that had appended nothing to them before."""
        self._seen: dict[str, set[Actor]] = {}
        self.stood: dict[str, int] = {}
        """At which revision each stream certainly stood, by the answers so far."""

    def begin(self, *, has_append_records: bool) -> None:
        """Forget the scene before, and have the call for many streams or not."""
        self.has_append_records = has_append_records
        for known in (self.blind, self._seen, self.stood):
            known.clear()

    def note(self, stream: str, expected: int) -> None:
        """The actor who runs appended to `stream` behind a revision."""
        seen = self._seen.setdefault(stream, set())
        if current_actor() not in seen:
            self.blind.add((stream, expected))
            seen.add(current_actor())

    async def open(self) -> None:
        """Connect."""
        self._real = await connect(self._uri)

    async def close(self) -> None:
        """Disconnect."""
        if self._real is not None:
            await self._real.close()

    @property
    def client(self) -> Any:
        """The client, for reading."""
        assert self._real is not None
        return self._real.client

    async def connect(self, _uri: str) -> Connection:
        """A connection such as the worker opens; closing it does nothing."""
        assert self._real is not None
        channel: Any = _Channel(self, self._gates, self._real.channel)
        return Connection(channel, channel, self._real.metadata, self._real.credentials)


async def accept(_client: object) -> None:
    """The check of a connection: all stores of a scene belong together."""


class _Channel:
    def __init__(self, server: KurrentDB, gates: Gates, real: grpc.aio.Channel) -> None:
        self._server = server
        self._gates = gates
        self._real = real

    async def channel_ready(self) -> None:
        """It is open."""

    def get_state(self) -> grpc.ChannelConnectivity:
        """It stays open."""
        return grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Others use the channel, too."""

    def unary_unary(self, method: str, **serializers: Any) -> Callable[..., Awaitable[Any]]:
        assert method == append_records.METHOD
        call = self._real.unary_unary(method, **serializers)

        async def append(request: Any, **options: Any) -> Any:
            if not self._server.has_append_records:
                raise _error(grpc.StatusCode.UNIMPLEMENTED)

            async def send() -> Any:
                answer = await call(request, **options)
                self._server.stood.update((stream.stream, stream.revision) for stream in answer.revisions)
                return answer

            is_question = request.checks[0].stream_state.stream == NEVER_WRITTEN
            states = [(check.stream_state.stream, check.stream_state.expected_state) for check in request.checks]
            about = " ".join(sorted(f"{self._name(stream)}>{at}" for stream, at in states[is_question:]))
            faults = {"lost before": _timed_out, "stale": self._stale(states)}
            if not is_question:
                faults["lost after"] = _timed_out_after
            what = "locate" if is_question else "append"
            answer = await self._gates.call(f"{what} {about}", lambda: self._gates.fly(send), faults)
            for stream, expected in states:
                self._server.note(stream, expected)
            return answer

        return append

    def stream_unary(self, method: str, **serializers: Any) -> Callable[..., Awaitable[Any]]:
        assert method == append_to_stream.METHOD
        call = self._real.stream_unary(method, **serializers)

        async def append(requests: Iterable[Any], **options: Any) -> Any:
            sent = list(requests)

            async def send() -> Any:
                return await call(iter(sent), **options)

            told = sent[0].options
            about = f"{self._name(told.stream_identifier.stream_name.decode())} at {told.revision}"
            faults = {"lost before": _timed_out, "lost after": _timed_out_after}
            answer = await self._gates.call(f"append to {about}", lambda: self._gates.fly(send), faults)
            if answer.WhichOneof("result") == "success":
                self._server.note(told.stream_identifier.stream_name.decode(), told.revision)
            return answer

        return append

    def _stale(self, states: Sequence[tuple[str, int]]) -> Fault:
        """A leader that was deposed answers as things stood some time ago, and writes nothing."""

        async def refuse(_do: Do) -> Any:
            found = streams_v2_errors_pb2.AppendConsistencyViolationErrorDetails()
            for place, (stream, expected) in enumerate(states):
                stood = max(self._server.stood.get(stream, -1) - 1, -1)
                if stream == NEVER_WRITTEN or stood != expected:
                    violation = found.violations.add(check_index=place)
                    violation.stream_state.stream = stream
                    violation.stream_state.expected_state = expected
                    violation.stream_state.actual_state = stood
            if not found.violations:
                # It would accept the append, and never get it committed.
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED)
            status = rpc_status_pb2.Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0])
            status.details.add().Pack(found)
            raise _error(grpc.StatusCode.FAILED_PRECONDITION, (STATUS_TRAILER, status.SerializeToString()))

        return refuse

    def _name(self, stream: str) -> str:
        return self._gates.names.get(stream.removeprefix(STREAM_PREFIX), stream)


async def _timed_out(_do: Do) -> Any:
    raise _error(grpc.StatusCode.DEADLINE_EXCEEDED)


async def _timed_out_after(do: Do) -> Any:
    await do()
    raise _error(grpc.StatusCode.DEADLINE_EXCEEDED)


def _error(code: grpc.StatusCode, *trailers: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), "said by the scheduler")

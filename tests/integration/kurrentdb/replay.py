"""Send the recorded requests of a scenario to a server, and write down its answers in the recording's own form.

Names and UUIDs are drawn once a scenario and come back as `${name}`. Log positions stay numbers: `compare` holds them
against the recording's P1 < P2 < …. Waiting ends early once everything recorded has come and nothing more follows.
"""

from __future__ import annotations

import asyncio
import base64
import re
import uuid
from itertools import pairwise
from typing import Any

import grpc
from esdbclient.protos.Grpc import gossip_pb2, shared_pb2, streams_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from worker.outbox.protos import rpc_status_pb2, streams_v2_pb2
from worker.outbox.protos import streams_v2_errors_pb2 as _errors  # noqa: F401 - lets `details` be shown as JSON

# How long nothing more may come, after all that was recorded, before a call that is still open counts as quiet.
SETTLE_S = 0.3

STREAMS = "/event_store.client.streams.Streams/"
CHANNEL_OPTIONS = [
    ("grpc.max_metadata_size", 64 * 2**20),
    ("grpc.absolute_max_metadata_size", 64 * 2**20),
    ("grpc.use_local_subchannel_pool", 1),
]
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BYTES_FIELDS = {"streamName", "data", "customMetadata"}
UNARY = {
    "Delete": (STREAMS + "Delete", streams_pb2.DeleteReq, streams_pb2.DeleteResp),
    "Tombstone": (STREAMS + "Tombstone", streams_pb2.TombstoneReq, streams_pb2.TombstoneResp),
    "Gossip": ("/event_store.client.gossip.Gossip/Read", shared_pb2.Empty, gossip_pb2.ClusterInfo),
    "AppendRecords": (
        "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords",
        streams_v2_pb2.AppendRecordsRequest,
        streams_v2_pb2.AppendRecordsResponse,
    ),
}

Json = Any


class Names:
    """The names, UUIDs and captured positions of one run of a scenario."""

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex[:8]
        self._drawn: dict[str, str] = {}
        self.positions: dict[str, int] = {}

    def drawn(self, name: str) -> str:
        """What `${name}` stands for in this run."""
        if name not in self._drawn:
            self._drawn[name] = self._draw(name)
        return self._drawn[name]

    def _draw(self, name: str) -> str:
        if name == "t":
            return self._run
        if name == "meta":
            return f"$${self.drawn('s')}"
        if name == "sys":
            return f"$test-{self._run}"
        if re.fullmatch(r"s\d*|o\d*|l|missing", name):
            return f"conformance-{self._run}-{name}-end"
        return str(uuid.uuid4())

    def fill(self, template: Json) -> Json:
        """A recorded request with this run's names, as protobuf's JSON mapping takes it."""
        if isinstance(template, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: self.drawn(found[1]), template)
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        if not isinstance(template, dict):
            return template
        if "$b" in template:
            return _base64(self.fill(template["$b"]))
        if "$pos" in template:
            return str(self.positions[template["$pos"]] + template.get("add", 0))
        if "$big" in template:
            kind = {"type": "Happened", "content-type": "application/octet-stream"}
            return {"id": self.fill(template["id"]), "metadata": kind, "data": _base64("x" * template["$big"])}
        return {self.fill(key): self.fill(value) for key, value in template.items()}

    def hide(self, answer: Json) -> Json:
        """An answer in the recording's form: drawn names as `${name}`, other UUIDs as UUID, bytes as {"$b": text}."""
        if isinstance(answer, str):
            for name, value in sorted(self._drawn.items(), key=lambda item: -len(item[1])):
                answer = answer.replace(value, f"${{{name}}}")
            return UUID_PATTERN.sub("UUID", answer)
        if isinstance(answer, list):
            return [self.hide(item) for item in answer]
        if isinstance(answer, dict):
            return {
                key: {"$b": self.hide(base64.b64decode(value).decode())} if key in BYTES_FIELDS else self.hide(value)
                for key, value in answer.items()
            }
        return answer


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def replay(target: str, scenario: Json) -> list[list[Json]]:
    """The answers to each step of a scenario, sent to the server at `target` (host:port)."""
    names = Names()
    async with grpc.aio.insecure_channel(target, CHANNEL_OPTIONS) as channel:
        answers: list[list[Json]] = []
        for before, step in pairwise([{}, *scenario["steps"]]):
            answers.append(await _take(channel, names, step))
            if before.get("halfClose"):
                await _take_again_until_written(channel, names, step, answers)
        return answers


async def _take_again_until_written(
    channel: grpc.aio.Channel, names: Names, read: Json, answers: list[list[Json]]
) -> None:
    """Read once more until all is there: appends that a half-close left unanswered become readable a moment later."""
    until = asyncio.get_running_loop().time() + read["wait"]
    while len(answers[-1]) < len(read["answers"]) and asyncio.get_running_loop().time() < until:
        answers[-1] = await _take(channel, names, read)


async def _take(channel: grpc.aio.Channel, names: Names, step: Json) -> list[Json]:
    """One step's answers; what it captures is kept for the steps behind it."""
    rpc = step["rpc"]
    if rpc == "Live":
        return [await _live(channel, names, step)]
    if rpc == "BatchAppend":
        answers = await _batch_append(channel, names, step)
        if step.get("capture"):
            names.positions[step["capture"]] = int(answers[0]["success"]["position"]["commitPosition"])
    elif rpc == "Read":
        answers = await _Reading(channel, names, step).answers(step["answers"])
    elif rpc == "Append":
        requests = [ParseDict(names.fill(request), streams_pb2.AppendReq()) for request in step["requests"]]
        method = channel.stream_unary(
            STREAMS + "Append", streams_pb2.AppendReq.SerializeToString, streams_pb2.AppendResp.FromString
        )
        answers = await _one_answer(method(iter(requests)))
    else:
        path, request, response = UNARY[rpc]
        method = channel.unary_unary(path, request.SerializeToString, response.FromString)
        answers = await _one_answer(method(ParseDict(names.fill(step.get("request", {})), request()), timeout=20))
    return names.hide(answers)


async def _one_answer(call: Any) -> list[Json]:
    try:
        return [MessageToDict(await call)]
    except grpc.aio.AioRpcError as error:
        return [_end(error.code(), error.details(), error.trailing_metadata())]


def _end(code: grpc.StatusCode, details: str | None, trailers: Any) -> Json:
    """How a call ended, in the recording's form."""
    if code is grpc.StatusCode.OK:
        return {"$end": "OK"}
    end: Json = {"status": code.name.title().replace("_", ""), "details": details}
    own = {key: value for key, value in trailers or () if key not in ("date", "server", "content-length")}
    status = own.pop("grpc-status-details-bin", None)
    end["trailers"] = sorted([key, value] for key, value in own.items())
    if status is not None:
        end["grpc-status-details-bin"] = MessageToDict(rpc_status_pb2.Status.FromString(status))
    return {"$end": end}


class _Collected:
    """The answers of a call as they come, taken by a task of their own, so that waiting never cancels the call."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._changed = asyncio.Event()
        self.answers: list[Json] = []
        self.has_ended = False
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._add(_as_json(message))
        except grpc.aio.AioRpcError:
            pass  # how it ended is asked below
        code, details = await self._call.code(), await self._call.details()
        self.has_ended = True
        self._add(_end(code, details, await self._call.trailing_metadata()))

    def _add(self, answer: Json) -> None:
        self.answers.append(answer)
        self._changed.set()

    async def until(self, count: int, wait_s: float) -> None:
        """Wait until `count` answers have come, or the call has ended, or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while len(self.answers) < count and not self.has_ended and loop.time() < until:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - loop.time())
            except TimeoutError:
                return

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _as_json(message: Message) -> Json:
    return MessageToDict(message)


async def _batch_append(channel: grpc.aio.Channel, names: Names, step: Json) -> list[Json]:
    """Send all requests, half-close if recorded so, and take the answers."""
    method = channel.stream_stream(
        STREAMS + "BatchAppend", streams_pb2.BatchAppendReq.SerializeToString, streams_pb2.BatchAppendResp.FromString
    )
    call = method()
    collected = _Collected(call)
    try:
        for request in step["requests"]:
            await call.write(ParseDict(names.fill(request), streams_pb2.BatchAppendReq()))
        if step["halfClose"]:
            await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the server ended the call: its answers say how
    recorded = step["answers"]
    is_quiet = recorded[-1:] == [{"$open": True}]
    # After a half-close more answers than recorded may come before the end.
    awaited = len(step["requests"]) + 1 if step["halfClose"] else len(recorded) - is_quiet
    await collected.until(awaited, step["wait"])
    if is_quiet:
        await collected.until(len(recorded), SETTLE_S)
    answers = list(collected.answers)
    if not collected.has_ended and len(answers) < step["replies"]:
        answers.append({"$open": True})
    await collected.close()
    return answers


class _Reading:
    """A Read call, open until `answers` is asked for."""

    def __init__(self, channel: grpc.aio.Channel, names: Names, step: Json) -> None:
        method = channel.unary_stream(
            STREAMS + "Read", streams_pb2.ReadReq.SerializeToString, streams_pb2.ReadResp.FromString
        )
        self._step = step
        self._collected = _Collected(method(ParseDict(names.fill(step["request"]), streams_pb2.ReadReq())))

    async def until(self, count: int) -> None:
        """Wait until `count` answers have come."""
        await self._collected.until(count, self._step["wait"])

    async def answers(self, recorded: list[Json]) -> list[Json]:
        """What came, as many as were recorded and any that follow soon; a call still open ends in {"$open": true}."""
        await self._collected.until(_count_compared(recorded), self._step["wait"])
        await self._collected.until(self._step["max"], SETTLE_S)
        answers = list(self._collected.answers)
        if not self._collected.has_ended:
            answers.append({"$open": True})
        await self._collected.close()
        return answers


def _count_compared(recorded: list[Json]) -> int:
    """How many recorded answers must come whatever else stands in the log: checkpoints may not."""
    return sum("checkpoint" not in answer and "$open" not in answer for answer in recorded)


async def _live(channel: grpc.aio.Channel, names: Names, step: Json) -> Json:
    """Open the read, let it catch up, take the other steps, then take what came."""
    recorded = step["answers"][0]
    reading = _Reading(channel, names, step["read"])
    until_live = next(count for count, answer in enumerate(recorded["read"], 1) if "caughtUp" in answer)
    await reading.until(until_live)
    during = []
    for inner, answers in zip(step["during"], recorded["during"], strict=True):
        during.append(await _take(channel, names, {**inner, "answers": answers}))
    return {"during": during, "read": names.hide(await reading.answers(recorded["read"]))}

"""What the KurrentDB stand-in promises, checked on one input: any bytes as requests end in an answer or a gRPC status,
and the store stays readable.

An input is a list of frames: a byte that chooses the call, two for the message's length, the message. Frames of the
same streaming call in a row are one call. Each input gets a store of its own, in memory where the machine has a folder
there; afterwards it is closed and opened again, and must hold the same.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
from esdbclient.protos.Grpc import streams_pb2
from google.protobuf.message import DecodeError, Message

from devstack.kurrentdb import appends as appends_module
from devstack.kurrentdb.append import AppendCalls
from devstack.kurrentdb.append_records import AppendRecordsCall
from devstack.kurrentdb.appends import Appends
from devstack.kurrentdb.batch import BatchAppendCall
from devstack.kurrentdb.errors import CallError
from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.log import Log
from devstack.kurrentdb.read import ReadCall
from devstack.kurrentdb.store import Store
from devstack.kurrentdb.writer import Writer
from worker.outbox.protos import streams_v2_pb2

CALLS: tuple[tuple[str, type[Message]], ...] = (
    ("AppendRecords", streams_v2_pb2.AppendRecordsRequest),
    ("BatchAppend", streams_pb2.BatchAppendReq),
    ("Append", streams_pb2.AppendReq),
    ("Read", streams_pb2.ReadReq),
    ("Delete", streams_pb2.DeleteReq),
    ("Tombstone", streams_pb2.TombstoneReq),
)
"""What a frame's first byte chooses, and the message that the call takes."""
STREAMING = frozenset({"BatchAppend", "Append"})
FRAME_BYTES_MAX = 2**16 - 1
QUIET_TURNS = 20
"""Turns of the loop in which a call that waits for events may still answer."""
ANSWER_S = 5.0

Frame = tuple[int, bytes]


def check(data: bytes) -> None:
    """Raise `AssertionError`, or what a call raised, where `data` breaks a promise."""
    # A repeat of what is in flight is not answered until this time is over: nothing waits for it here.
    appends_module.COMMIT_TIMEOUT_S = 0.01
    memory = Path("/dev/shm")  # noqa: S108 -- a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(_check(read_frames(data), Path(folder)))


def read_frames(data: bytes) -> list[Frame]:
    """The frames of an input; a length beyond its end takes what is there."""
    frames, at = [], 0
    while at + 3 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 3], "big")
        frames.append((data[at] % len(CALLS), data[at + 3 : at + 3 + length]))
        at += 3 + length
    return frames


def write_frames(frames: Sequence[Frame]) -> bytes:
    """The input that has these frames."""
    return b"".join(
        bytes([call]) + len(message).to_bytes(2, "big") + message
        for call, message in frames
        if len(message) <= FRAME_BYTES_MAX
    )


async def _check(frames: Sequence[Frame], folder: Path) -> None:
    store = Store(Log(folder), Faults())
    calls = _calls(store)
    for call, messages in _grouped(frames):
        await _run(calls[call], messages, store)
    before = await _contents(store)
    await store.close()
    reopened = Store(Log(folder), Faults())
    after = await _contents(reopened)
    await reopened.close()
    # Each start writes one event of its own behind the others.
    assert after[: len(before)] == before, "the store holds something else after it was opened again"


def _grouped(frames: Sequence[Frame]) -> Iterator[tuple[str, list[bytes]]]:
    for call, group in groupby(frames, key=lambda frame: frame[0]):
        name, messages = CALLS[call][0], [message for _, message in group]
        if name in STREAMING:
            yield name, messages
        else:
            yield from ((name, [message]) for message in messages)


def _calls(store: Store) -> dict[str, Callable[[list[bytes]], Any]]:
    """The calls by name: each takes the messages of one call, and gives its answer or its pages."""
    faults = Faults()
    appends = Appends(Writer(store), faults)
    append, records, read = AppendCalls(appends), AppendRecordsCall(appends, faults), ReadCall(store)
    return {
        "AppendRecords": lambda messages: records.append_records(messages[0], None),
        "BatchAppend": lambda messages: BatchAppendCall(appends, faults).answers(_stream(messages)),
        "Append": lambda messages: append.append(_stream(messages), None),
        "Read": lambda messages: read.read(messages[0]),
        "Delete": lambda messages: append.delete(messages[0], None),
        "Tombstone": lambda messages: append.tombstone(messages[0], None),
    }


async def _stream(messages: Sequence[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def _run(call: Callable[[list[bytes]], Any], messages: list[bytes], store: Store) -> None:
    """Make one call, and check what comes; one that listens for more is left."""
    answering = asyncio.ensure_future(_take(call(messages)))
    try:
        async with asyncio.timeout(ANSWER_S):
            await _settled(answering, store)
    finally:
        answering.cancel()
        await asyncio.wait({answering})
    if not answering.cancelled():
        answering.result()


async def _settled(answering: asyncio.Future[None], store: Store) -> None:
    """Wait until the call has ended, or until nothing is written any more and it still waits."""
    quiet = 0
    while not answering.done() and quiet < QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = quiet + 1 if store.index.committed == len(store.index.positions) else 0


async def _take(answer: Awaitable[bytes] | AsyncIterator[Sequence[bytes]]) -> None:
    try:
        if inspect.isawaitable(answer):
            assert isinstance(await answer, bytes)
            return
        async for page in answer:
            assert all(isinstance(one, bytes) for one in page)
    except DecodeError:
        pass
    except CallError as error:
        _check_status(error)


def _check_status(error: CallError) -> None:
    """What ends a call can be sent."""
    assert isinstance(error.code, grpc.StatusCode)
    assert error.code is not grpc.StatusCode.OK
    error.details.encode()
    for name, value in error.trailers:
        assert isinstance(value, bytes) if name.endswith("-bin") else str(value).isprintable() and str(value).isascii()


async def _contents(store: Store) -> list[bytes]:
    """Every event of the store, as a read gives it."""
    while store.index.committed < len(store.index.positions):
        await store.more_than(store.index.committed)
    answers = store.answers(range(store.index.committed))
    for answer in answers:
        streams_pb2.ReadResp.FromString(answer)
    return answers

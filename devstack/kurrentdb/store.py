"""Numbers events, writes them to the log in groups, and tells who waits once they are durable.

`write` gives events their revisions and positions at once, so the next check sees them, and queues their bytes. A
thread writes everything queued as one frame with one fsync; then `committed` moves up, readers see the events, and
the callbacks of `when_durable` run. A failing disk ends the process: nothing may be acknowledged after it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.index import Index, Stream
from devstack.kurrentdb.log import FRAME_HEADER, Log
from devstack.kurrentdb.records import (
    TOMBSTONE_REVISION,
    TOMBSTONE_TYPE,
    Kind,
    Proposed,
    data_of,
    decode_record,
    encode_empty,
    encode_kind,
    encode_record,
)

logger = logging.getLogger(__name__)

# What a fresh real server has in its log before the first user event.
SYSTEM_EVENTS = (("$users", "$User"), ("$user-admin", "$UserCreated"), ("$user-ops", "$UserCreated"))
EPOCH = ("$epoch-information", "$EpochInformation")

DISK_FAILED = 74  # exit code: EX_IOERR


class Store:
    """The log and its index, open for one event loop."""

    def __init__(self, log: Log, faults: Faults) -> None:
        """Rebuild the index from the log, then write what a server writes when it starts."""
        self.log = log
        self.index = Index()
        self._faults = faults
        self._queue: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._queued = asyncio.Event()
        self._next_position = 0
        self._thread = ThreadPoolExecutor(1, "log")
        self._rebuild()
        self._write_system_events()
        self._closing = False
        self._flusher = asyncio.create_task(self._flush_until_closed(), name="log")
        self._flusher.add_done_callback(_end_process_on_failure)

    def _rebuild(self) -> None:
        started = time.monotonic()
        for offset, content in self.log.recover():
            at = 0
            while at < len(content):
                at += self._take_in(content, at, offset + at)
        index = self.index
        index.committed = len(index.positions)
        self._next_position = self.log.end
        logger.info(
            "stand-in: %d events in %d streams read from %s in %.1f s",
            index.committed, len(index.names), self.log.path, time.monotonic() - started,
        )  # fmt: skip

    def _take_in(self, content: bytes, at: int, position: int) -> int:
        """Put the record at `at` of a frame into the index; return its size."""
        record = decode_record(content, at)
        stream = self.index.open_stream(record.stream)
        if record.type:
            length = record.size - record.body
            self.index.add(stream, record.event_id, record.type, position=position, body=record.body, length=length)
            if record.stream.startswith("$$"):
                answer = content[at + record.body : at + record.size]
                self.index.note_metadata(record.stream, record.type, data_of(answer))
        return record.size

    def _write_system_events(self) -> None:
        events = [EPOCH] if self.index.committed else [EPOCH, *SYSTEM_EVENTS]
        self.write([(self.index.open_stream(name), _system_event(kind)) for name, kind in events])

    def write(self, events: Sequence[tuple[Stream, Proposed]]) -> range:
        """Append `events`, all or none, in this order; return their ordinals. Not durable yet: see `when_durable`."""
        index = self.index
        first = len(index.positions)
        ticks = time.time_ns() // 100
        kinds: dict[tuple[str, bool], Kind] = {}
        position = self._open_frame()
        for stream, event in events:
            kind = kinds.get((event.type, event.is_json))
            if kind is None:
                kind = kinds[event.type, event.is_json] = encode_kind(event.type, event.is_json, ticks)
            revision = TOMBSTONE_REVISION if event.type == TOMBSTONE_TYPE else len(stream.ordinals)
            name = stream.name.encode()
            record, body = encode_record(event, name, kind, revision, position)
            index.add(stream, event.event_id, event.type, position=position, body=body, length=len(record) - body)
            if name.startswith(b"$$"):
                index.note_metadata(stream.name, event.type, event.data)
            self._queue.append(record)
            position += len(record)
        self._next_position = position
        self._queued.set()
        return range(first, len(index.positions))

    def write_nothing(self, stream: Stream) -> int:
        """Append no event: it takes room in the log; return its position."""
        position = self._open_frame()
        record = encode_empty(stream.name.encode())
        self._queue.append(record)
        self._next_position = position + len(record)
        self._queued.set()
        return position

    def _open_frame(self) -> int:
        """The next record's position; the first of a frame leaves room for the frame's header."""
        return self._next_position if self._queue else self._next_position + FRAME_HEADER.size

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Run `callback` once everything written so far is on disk and readable."""
        self._waiting.append(callback)

    async def more_than(self, seen: int) -> int:
        """Wait until more than `seen` events are readable; return how many are."""
        while self.index.committed <= seen:
            await self._changed.wait()
        return self.index.committed

    def answers(self, ordinals: Sequence[int]) -> list[bytes]:
        """The ready-made `ReadResp` of each event; ordinals in ascending or descending order."""
        index = self.index
        if not ordinals:
            return []
        low, high = sorted((ordinals[0], ordinals[-1]))
        start = index.positions[low] + index.bodies[low]
        span = index.positions[high] + index.bodies[high] + index.lengths[high] - start
        if span > 1 << 20:
            return [
                self.log.read(index.positions[at] + index.bodies[at], index.lengths[at]) for at in ordinals
            ]  # far apart, or large: one by one
        block = self.log.read(start, span)
        places = [(index.positions[at] + index.bodies[at] - start, index.lengths[at]) for at in ordinals]
        return [block[place : place + length] for place, length in places]

    async def _flush_until_closed(self) -> None:
        while not self._closing:
            await self._queued.wait()
            if self._queue:
                await self._flush()

    async def _flush(self) -> None:
        """Write what is queued as one frame and announce it."""
        queue, waiting = self._queue, self._waiting
        self._queue, self._waiting = [], []
        self._queued.clear()
        upto = len(self.index.positions)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write_frame, queue)
        self.index.committed = upto
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for callback in waiting:
            callback()

    def _write_frame(self, queue: list[bytes]) -> None:
        delay_ms = self._faults.fsync_delay_ms
        if delay_ms:
            time.sleep(delay_ms / 1000)
        self.log.write(queue)

    async def close(self) -> None:
        """Write what is queued, then close the log."""
        self._closing = True
        self._queued.set()
        await self._flusher
        if self._queue:
            await self._flush()
        self._thread.shutdown(wait=True)
        self.log.close()


def _system_event(event_type: str) -> Proposed:
    return Proposed(uuid.uuid4().bytes, event_type, True, b"", b"{}")


def _end_process_on_failure(flusher: asyncio.Task[None]) -> None:
    if not flusher.cancelled() and flusher.exception() is not None:
        logger.critical("stand-in: the log cannot be written; stopping at once", exc_info=flusher.exception())
        os._exit(DISK_FAILED)

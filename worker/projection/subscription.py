"""A catch-up subscription, gathered into batches: the next one fills while the last one is being written.

Each event comes at least once, those of a stream in the order of their revisions. Memory is bounded: one batch ahead,
then the server waits. No end is silent: whatever ends a subscription, or keeps it mute (a half-open connection, a
server that forgot it), raises `SubscriptionLost`; the caller subscribes again behind the last event that it wrote.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc

from worker.errors import Fatal, Unavailable
from worker.outbox.connection import refusal
from worker.projection.document import RecordedEvent

BATCH_EVENTS_MAX = 2000
BATCH_BYTES_MAX = 4 * 1024 * 1024
GATHER_S = 0.1
"""How long a batch waits for more behind its first event. Elasticsearch shows what is new once a second."""
SILENCE_S = 30.0
"""After this long without an event the server is asked whether there is one."""
ARRIVAL_S = 5.0
"""How long an event that the server has may take to arrive; also the time within which a subscription is confirmed."""


class SubscriptionLost(Unavailable):
    """The subscription has ended or is deaf, or cannot begin: subscribe again."""

    server = "kurrentdb"

    @classmethod
    def because(cls, error: Any) -> SubscriptionLost | Fatal:
        """Say what gRPC's `error` says; `Fatal` where KurrentDB refuses us, or its certificate does not verify."""
        return refusal(error) or cls(f"KurrentDB: {error.code().name}: {error.details()}")


class Subscription:
    """Enter it to begin, leave it to end it; `take_batch` in between, by one task.

    A thread reads: that costs half as much for each event, and wakes the event loop once a batch, not once an event.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        after: int | None,
        last_event: Callable[[], Awaitable[RecordedEvent | None]],
    ) -> None:
        self._open, self._last_event = call, last_event
        self._position = -1 if after is None else after
        self._events: list[RecordedEvent] = []
        self._bytes = 0
        self._confirmed, self._arrived, self._full = (asyncio.Event() for _ in range(3))
        self._caught_up = asyncio.Event()
        # Of the thread and the loop: what was gathered, and whether the thread may go on.
        self._lock = threading.Lock()
        self._room = threading.Event()
        self._ended = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._call = self._open()
        self._reader = asyncio.ensure_future(asyncio.to_thread(self._read_ahead))
        try:
            if not await self._wait_for(self._confirmed, ARRIVAL_S):
                raise SubscriptionLost(f"KurrentDB: no answer within {ARRIVAL_S:.0f} s")
        except BaseException:
            # Cancelled or refused: there will be no `__aexit__`, and the thread must not stay behind.
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def has_more_within(self, seconds: float) -> bool:
        """Whether there are events to take before `seconds` are over; never where they are over already."""
        return seconds > 0 and await self._wait_for(self._arrived, seconds)

    @property
    def is_idle(self) -> bool:
        """Whether every event that the server had has been taken."""
        return self._caught_up.is_set() and not self._events

    async def until_caught_up(self) -> None:
        """Wait until the server has said that it has no more."""
        await self._caught_up.wait()

    async def take_batch(self, silence_s: float = SILENCE_S) -> list[RecordedEvent]:
        """The next events, at least one. Cancelling it loses none; raises `SubscriptionLost` when no more can come."""
        while not await self._wait_for(self._arrived, silence_s):
            await self._check_hearing()
        await self._wait_for(self._full, GATHER_S)
        with self._lock:
            events, self._events, self._bytes = self._events, [], 0
            self._arrived.clear()
            self._full.clear()
            self._room.set()
        return events

    async def _check_hearing(self) -> None:
        """Nothing came for long: fine if the server has nothing; it also shows whether the connection is alive."""
        last = await self._last_event()
        if last and last.commit_position > self._position and not await self._wait_for(self._arrived, ARRIVAL_S):
            raise SubscriptionLost(f"KurrentDB: silent, though there is an event at {last.commit_position}")

    async def _wait_for(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Whether `event` was set within `timeout_s`; raises if the reader has ended and nothing is left to take."""
        if event.is_set():
            return True
        waiter = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({waiter, self._reader}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if self._reader.done() and not self._events:
            await self._reader
        return event.is_set()

    def _read_ahead(self) -> None:
        """In the thread: take what the server sends, until it ends."""
        try:
            for response in self._call:
                self._receive(response)
        except grpc.RpcError as error:
            raise SubscriptionLost.because(error) from error
        raise SubscriptionLost("KurrentDB: the server ended the subscription")

    def _receive(self, response: Any) -> None:
        content = response.WhichOneof("content")
        if content == "event":
            self._keep(recorded_event(response))
        elif content == "confirmation":
            self._loop.call_soon_threadsafe(self._confirmed.set)
        elif content == "caught_up":
            self._loop.call_soon_threadsafe(self._caught_up.set)

    def _keep(self, event: RecordedEvent) -> None:
        with self._lock:
            self._events.append(event)
            self._position = event.commit_position
            self._bytes += len(event.data) + len(event.metadata)
            is_first = len(self._events) == 1
            is_full = len(self._events) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX
            if is_full and not self._ended:
                # Under the lock: the loop may take the batch, or end it all, before this thread begins to wait.
                self._room.clear()
        if is_first:
            self._loop.call_soon_threadsafe(self._arrived.set)
        if is_full:
            self._loop.call_soon_threadsafe(self._full.set)
            self._room.wait()

    async def _end(self) -> None:
        self._call.cancel()
        with self._lock:
            self._ended = True
            self._room.set()
        await asyncio.gather(self._reader, return_exceptions=True)


def recorded_event(response: Any) -> RecordedEvent:
    """The event of a `ReadResp` that carries one."""
    event = response.event.event
    return RecordedEvent(
        event.id.string,
        event.metadata["type"],
        event.stream_identifier.stream_name.decode(),
        event.stream_revision,
        event.commit_position,
        event.data,
        event.custom_metadata,
    )

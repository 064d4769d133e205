"""The append of a direct call: what a worker does behind its batches, with an end to the waiting.

Calls that changed the same wallet append in the order of their commits: an event before its predecessor would have
to wait for it in KurrentDB. What is committed stays so, whatever happens here. What is not acknowledged in time is
appended later: before the wallet's next event, by `wallex verify --repair`, or by a repeat of the call under its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.contracts.replies import Reply
from worker.errors import AppendPendingError, StoresContradictError
from worker.ledger.decide_batch import Outcome
from worker.outbox.appender import Appender
from worker.outbox.backfill import load_proofs
from worker.outbox.event_store import EventStore
from worker.outbox.run import runs_of
from worker.telemetry.metrics import WorkerMetrics

APPEND_S = 5.0
"""How long a call waits for KurrentDB, its turn included."""

log = structlog.get_logger(__name__)


class Place:
    """A call's place behind those of this process that changed the same wallets before it."""

    def __init__(self, last: dict[str, asyncio.Event]) -> None:
        self._last = last
        self._wallet_ids: set[str] = set()
        self._before: list[asyncio.Event] = []
        self._appended = asyncio.Event()

    def take(self, outcome: Outcome) -> None:
        """Take it, once, while the wallets that `outcome` changes are locked: so places are as the commits will be."""
        self._wallet_ids = {event.wallet_id for event in outcome.events}
        for wallet_id in self._wallet_ids:
            if wallet_id in self._last:
                self._before.append(self._last[wallet_id])
            self._last[wallet_id] = self._appended

    async def turn(self) -> None:
        """Wait until those before are appended, or given up."""
        for appended in self._before:
            await appended.wait()

    def leave(self) -> None:
        """Let the next ones go on."""
        self._appended.set()
        for wallet_id in self._wallet_ids:
            if self._last.get(wallet_id) is self._appended:
                del self._last[wallet_id]


class DirectAppends:
    """A process's direct appends, one after another, as the connection wants them."""

    def __init__(self, store: EventStore, engine: AsyncEngine) -> None:
        self._engine = engine
        self._appender = Appender(store, engine, WorkerMetrics(CollectorRegistry()))
        self._turn = asyncio.Lock()
        self._last: dict[str, asyncio.Event] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Lend a place for a call's transaction and its append."""
        place = Place(self._last)
        try:
            yield place
        finally:
            place.leave()

    async def append(self, place: Place, command_id: str, outcome: Outcome, reply: Reply) -> None:
        """Append what a committed command made, also where the caller is cancelled; raises `AppendPendingError`."""
        task = asyncio.create_task(self._append(place, command_id, outcome, reply))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait for what is under way, which ends by itself after `APPEND_S`."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _append(self, place: Place, command_id: str, outcome: Outcome, reply: Reply) -> None:
        try:
            async with asyncio.timeout(APPEND_S):
                await place.turn()
                async with self._turn:
                    contradictory = await self._append_all(outcome)
        except Exception as error:
            log.warning("append_pending", command_id=command_id, error=f"{type(error).__name__}: {error}")
            message = "It is done, do not repeat it. KurrentDB has not acknowledged it yet, and will have it later."
            raise AppendPendingError(reply, command_id, message) from error
        if contradictory:
            message = "It is done, do not repeat it. The wallets are quarantined: see `wallex quarantine show`."
            raise StoresContradictError(reply, command_id, message, {"walletIds": sorted(contradictory)})

    async def _append_all(self, outcome: Outcome) -> frozenset[str]:
        """Append new events; of a command that ran before, prove those that it made then."""
        made = dict(outcome.made)
        proofs = await load_proofs(self._engine, made) if made else []
        return await self._appender.append(runs_of(outcome.events), proofs)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Looked at here, for a caller that was cancelled does not: it is logged already.
            task.exception()

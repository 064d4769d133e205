"""What the tests of `worker/outbox/` act on: committed commands, their runs, and streams held against the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

from esdbclient import AsyncEventStoreDBClient, NewEvent, RecordedEvent, StreamState
from esdbclient.exceptions import NotFound
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.kurrentdb.standin import StandIn
from tests.support.commands import Command, create_wallet, credit, new_id
from worker.contracts.commands import COMMAND
from worker.contracts.envelope import Envelope
from worker.contracts.events import stream_name
from worker.database import raw_connection
from worker.domain.fingerprint import fingerprint
from worker.ledger import entry
from worker.ledger.batch import run_batch
from worker.ledger.decide_batch import Outcome, Received
from worker.outbox import backfill
from worker.outbox.acknowledged import Acknowledged
from worker.outbox.append import append_runs
from worker.outbox.event_store import Appended, EventStore
from worker.outbox.run import Run, runs_of
from worker.telemetry.metrics import WorkerMetrics


class EveryWallet(Acknowledged):
    """A process that has proven the streams of all wallets before."""

    def __contains__(self, wallet_id: object) -> bool:
        return True


async def any_kurrentdb(_client: AsyncEventStoreDBClient) -> None:
    """Accept every server: tests of appends have one database, and several servers for it."""


class CountingStore(EventStore):
    """An event store that remembers what it was asked to append: one list of runs for each call."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, any_kurrentdb)
        self.calls: list[list[Run]] = []

    async def append(self, runs: Sequence[Run]) -> Appended:
        self.calls.append(list(runs))
        return await super().append(runs)


class Book:
    """A test's own ledger, and a server whose streams are to equal it."""

    def __init__(self, engine: AsyncEngine, store: CountingStore, client: AsyncEventStoreDBClient) -> None:
        self.engine = engine
        self.store = store
        self.client = client
        self.metrics = WorkerMetrics(CollectorRegistry())

    async def commit(self, commands: Iterable[Command]) -> list[Outcome]:
        """Run `commands` in one transaction."""
        return await run_batch(self.engine, [received(command) for command in commands])

    async def runs(self, commands: Iterable[Command]) -> list[Run]:
        """Run `commands` in one transaction, and return the runs that are now to be appended."""
        return runs_of(event for outcome in await self.commit(commands) for event in outcome.events)

    async def wallets(self, count: int, credited: int = 0) -> list[Run]:
        """New wallets, each credited so often: their runs, from version 0 on."""
        wallet_ids = [new_id() for _ in range(count)]
        commands = [command for id_ in wallet_ids for command in (create_wallet(id_), *_credits(id_, credited))]
        return await self.runs(commands)

    async def credit(self, wallet_id: str, count: int = 1) -> Run:
        """So many credits to a wallet: their run."""
        return (await self.runs(_credits(wallet_id, count)))[0]

    async def append(
        self, runs: Sequence[Run], proofs: Sequence[Run] = (), acknowledged: Acknowledged | None = None
    ) -> frozenset[str]:
        """Append as a worker does that has proven what `acknowledged` says before: by default, all streams."""
        known = acknowledged or EveryWallet(self.engine)
        found = await append_runs(self.store, self.engine, self.metrics, runs, proofs, acknowledged=known)
        return frozenset(found)

    async def lose_entry(self, wallet_id: str, version: int) -> None:
        """Take an entry out of the ledger, which nobody but a superuser can."""
        async with raw_connection(self.engine) as connection:
            await connection.execute("DELETE FROM ledger WHERE wallet_id = $1 AND version = $2", wallet_id, version)

    async def append_foreign(self, wallet_id: str, count: int, after: int = -1) -> None:
        """Append events that no command made."""
        events = [NewEvent(type="Foreign", data=b"{}", id=uuid4()) for _ in range(count)]
        at = StreamState.NO_STREAM if after == -1 else after
        await self.client.append_to_stream(stream_name(wallet_id), current_version=at, events=events)

    async def stream(self, wallet_id: str) -> list[tuple[int, UUID, str, bytes]]:
        """What stands in a wallet's stream; nothing where it is not there."""
        try:
            return [_standing(event) for event in await self.client.get_stream(stream_name(wallet_id))]
        except NotFound:
            return []

    async def differing(self, wallet_ids: Iterable[str]) -> list[str]:
        """Which of these wallets have streams that are not exactly their ledger."""
        with patch.object(backfill, "BACKFILL_EVENTS_MAX", 10**6):
            whole = await backfill.load_runs(self.engine, dict.fromkeys(wallet_ids, (0, 10**5)))
        return [id_ for id_, run in whole.items() if await self.stream(id_) != [_planned(e) for e in run.events]]


@asynccontextmanager
async def open_book(engine: AsyncEngine, kurrentdb: StandIn) -> AsyncIterator[Book]:
    """A book over a migrated database and a server, with connections of its own."""
    client, store = AsyncEventStoreDBClient(kurrentdb.uri), CountingStore(kurrentdb.uri)
    await client.connect()
    try:
        yield Book(engine, store, client)
    finally:
        await store.close()
        await client.close()


def received(command: Command, **headers: Any) -> Received:
    """A command as the inbox hands it over."""
    model = COMMAND.validate_python(command)
    return Received(model, fingerprint(model), Envelope("replies", **headers), datetime.now(UTC), None)


def ids_of(runs: Iterable[Run]) -> set[str]:
    return {run.wallet_id for run in runs}


def _credits(wallet_id: str, count: int) -> list[Command]:
    return [credit(wallet_id) for _ in range(count)]


def _standing(event: RecordedEvent) -> tuple[int, UUID, str, bytes]:
    return event.stream_position, event.id, event.type, event.data


def _planned(event: entry.NewEvent) -> tuple[int, UUID, str, bytes]:
    return event.version, UUID(event.event_id), event.type, event.data

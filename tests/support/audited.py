"""Three stores of a test's own that agree: commands run, appended to KurrentDB, followed into Elasticsearch.

Every step is the worker's and the projector's own code, called directly: what is compared is what they write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.commands import Command
from tests.support.postgres import migrated_database
from tests.support.projection import StandIn, as_recorded, under_other_aliases
from tests.support.received import received
from worker.audit.stores import Stores, open_postgres
from worker.audit.streams import Streams
from worker.ledger.batch import run_batch
from worker.ledger.entry import NewEvent
from worker.outbox.event_store import EventStore
from worker.outbox.run import runs_of
from worker.projection.bulk import make_operations, write_documents
from worker.projection.document import Event, read_event
from worker.projection.elastic import connect_elasticsearch
from worker.projection.follow import EventLog
from worker.projection.index import Index, open_index
from worker.settings import Settings


class Audited:
    """The stores, and the ways into each of them."""

    def __init__(self, stores: Stores, store: EventStore, indices: Sequence[Index], standin: StandIn) -> None:
        self.stores, self._store, self._indices, self.standin = stores, store, indices, standin

    async def run(self, *commands: Command) -> list[NewEvent]:
        """Run `commands`, in all stores; return their events."""
        events = await self.run_in_postgres(*commands)
        await self.append(events)
        await self.project(events)
        return events

    async def run_in_postgres(self, *commands: Command) -> list[NewEvent]:
        """Run `commands` as one batch, and go no further; return the events to append."""
        outcomes = await run_batch(self.stores.engine, [received(command) for command in commands])
        return [event for outcome in outcomes for event in outcome.events]

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Append events to their streams."""
        appended = await self._store.append(runs_of(events))
        assert not appended.unwritten

    async def project(self, events: Sequence[NewEvent]) -> None:
        """Write the documents of events."""
        operations = make_operations(self._indices, [_as_event(event) for event in events])
        await write_documents(self.stores.search, operations)

    async def execute(self, statement: str, *arguments: object) -> None:
        """Change Postgres behind the worker's back."""
        async with self.stores.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            await raw.execute(statement, *arguments)


def _as_event(event: NewEvent) -> Event:
    return read_event(as_recorded([event])[0])


@asynccontextmanager
async def audited(environment: Mapping[str, str], folder: Path) -> AsyncIterator[Audited]:
    """Empty stores: a database and aliases on the shared servers, and a KurrentDB of their own."""
    standin = StandIn(folder)
    await standin.start()
    projections = under_other_aliases(f"test-{uuid4().hex[:12]}")
    store = EventStore(standin.uri)
    try:
        async with (
            migrated_database(environment) as own,
            open_postgres(Settings.load(own)) as engine,
            EventLog.connect(standin.uri) as log,
            Streams.connect(standin.uri) as streams,
            connect_elasticsearch(environment["ELASTICSEARCH_URL"]) as search,
        ):
            indices = [await open_index(search, one) for one in projections]
            wallets, statement, _ = projections
            yield Audited(Stores(engine, log, streams, search, wallets, statement), store, indices, standin)
            await search.indices.delete(index=[index.name for index in indices])
    finally:
        await store.close()
        standin.kill()

"""Three stores of a test's own that agree: commands run, appended to KurrentDB, followed into Elasticsearch.

Every step is the worker's and the projector's own code, called directly: what is compared is what they write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.commands import Command, create_wallet, credit, debit, new_id, transfer
from tests.support.postgres import migrated_database
from tests.support.projection import StandIn, as_recorded, under_other_aliases
from tests.support.received import received
from worker.audit.ledger_pages import Key
from worker.audit.report import Difference
from worker.audit.stores import Stores, open_postgres
from worker.audit.streams import Streams
from worker.audit.verify import verify
from worker.database import raw_connection
from worker.ledger.batch import run_batch
from worker.ledger.entry import NewEvent
from worker.outbox.event_store import open_event_store
from worker.outbox.installation import Installation
from worker.outbox.run import runs_of
from worker.projection.bulk import make_operations, write_documents
from worker.projection.document import Event, read_event
from worker.projection.elastic import connect_elasticsearch
from worker.projection.follow import EventLog
from worker.projection.index import Index, Projection, open_index
from worker.settings import Settings

AT_ONCE_S = 0.0
"""For what cannot be in flight: the first close look decides."""


class Audited:
    """The stores, and the ways into each of them."""

    def __init__(self, stores: Stores, indices: Sequence[Index], standin: StandIn) -> None:
        self.stores, self._indices, self.standin = stores, indices, standin

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
        appended = await self.stores.appends.append(runs_of(events))
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

    async def two_wallets(self) -> tuple[str, str, dict[Key, NewEvent]]:
        """Two wallets with a history of money: their ids, source and target, and the events by wallet and version."""
        source, target = sorted([new_id(), new_id()])
        events = await self.run(
            create_wallet(source, "100", metadata={"b": 1, "a": [1.5, None]}),
            create_wallet(target, "0"),
            credit(source, "5", reference="r-1", metadata={"why": "gift"}),
            transfer(source, target, "30"),
            debit(target, "10"),
        )
        return source, target, {Key(event.wallet_id, event.version): event for event in events}

    async def differences(self, *wallet_ids: str) -> list[Difference]:
        """What differs in these wallets at the first close look."""
        report = await verify(self.stores, settle_s=AT_ONCE_S)
        return [one for one in report.differences if one.wallet_id in wallet_ids]

    async def change_document(self, projection: Projection, document_id: str, external: int, **fields: Any) -> None:
        """Alter a document, under the external version that it has or a higher one."""
        search, alias = self.stores.search, projection.alias
        source = (await search.get(index=alias, id=document_id))["_source"]
        await search.index(
            index=alias,
            id=document_id,
            document=source | fields,
            version=external,
            version_type="external_gte",
        )

    async def everything(self) -> list[object]:
        """All rows, events and documents as they stand, to the byte, to be compared with a later look."""
        found: list[object] = []
        async with raw_connection(self.stores.engine) as connection:
            for table in ("wallets", "holds", "ledger", "commands"):
                found += await connection.fetch(f"SELECT row::text FROM {table} AS row ORDER BY 1")
        last = await self.stores.log.last_event()
        async with self.stores.log.subscribe(None) as subscription:
            while last and (not found or found[-1] != last):
                found += await subscription.take_batch()
        await self.stores.refresh()
        for projection in self.stores.projections:
            answer = await self.stores.search.search(
                index=projection.alias,
                size=10_000,
                sort=["walletId", "version"],
                version=True,
                seq_no_primary_term=True,
            )
            found += answer["hits"]["hits"]
        return found


def _as_event(event: NewEvent) -> Event:
    return read_event(as_recorded([event])[0])


@asynccontextmanager
async def audited(environment: Mapping[str, str], folder: Path) -> AsyncIterator[Audited]:
    """Empty stores: a database and aliases on the shared servers, and a KurrentDB of their own."""
    standin = StandIn(folder)
    await standin.start()
    projections = under_other_aliases(f"test-{uuid4().hex[:12]}")
    try:
        async with (
            migrated_database(environment) as own,
            open_postgres(Settings.load(own)) as engine,
            EventLog.connect(standin.uri) as log,
            Streams.connect(standin.uri) as streams,
            connect_elasticsearch(environment["ELASTICSEARCH_URL"]) as search,
            open_event_store(standin.uri, Installation(engine).check) as store,
        ):
            await store.is_ready()
            indices = [await open_index(search, one) for one in projections]
            # What a test deletes may be written again at once, under the version that it had.
            await search.indices.put_settings(index=[index.name for index in indices], settings={"gc_deletes": "0s"})
            yield Audited(Stores(engine, log, streams, search, store, *projections), indices, standin)
            await search.indices.delete(index=[index.name for index in indices])
    finally:
        standin.kill()

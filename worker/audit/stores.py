"""The clients of the three stores, opened together; what fails because a server is away is `Unavailable`.

Nothing is tried again here: whoever compares is told at once which store is away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg
from elasticsearch import AsyncElasticsearch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from worker import database
from worker.audit.documents import refresh
from worker.audit.streams import Streams
from worker.database import create_engine
from worker.outbox.event_store import EventStore, open_event_store
from worker.outbox.installation import Installation
from worker.postgres_errors import from_postgres
from worker.projection.elastic import connect_elasticsearch
from worker.projection.follow import EventLog
from worker.projection.index import HOLDS, STATEMENT, WALLETS, Projection
from worker.settings import Settings

STATEMENT_TIMEOUT_MS = 3_600_000
"""What reads everything takes its time: adding up 100,000 entries 0.1 s, 100 million some minutes."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What a comparison reads: Postgres, KurrentDB as one log and by stream, Elasticsearch and its aliases.

    Through `appends` a repair writes to streams.
    """

    engine: AsyncEngine
    log: EventLog
    streams: Streams
    search: AsyncElasticsearch
    appends: EventStore
    wallets: Projection = WALLETS
    statement: Projection = STATEMENT
    holds: Projection = HOLDS

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All that Elasticsearch keeps of the wallets, in the order of `PROJECTIONS`."""
        return self.wallets, self.statement, self.holds

    async def refresh(self) -> None:
        """Let the next search see every document that was written."""
        await refresh(self.search, *(projection.alias for projection in self.projections))


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open the clients and close them afterwards.

    `Unavailable` where Postgres or KurrentDB does not answer, `ForeignStore` where they do not belong together.
    """
    uri = settings.kurrentdb_uri.get_secret_value()
    async with (
        open_postgres(settings, STATEMENT_TIMEOUT_MS) as engine,
        open_event_store(uri, Installation(engine).check) as appends,
        EventLog.connect(uri) as log,
        Streams.connect(uri) as streams,
        connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as search,
    ):
        await appends.is_ready()
        yield Stores(engine, log, streams, search, appends)


@asynccontextmanager
async def open_postgres(
    settings: Settings, statement_timeout_ms: int = database.STATEMENT_TIMEOUT_MS
) -> AsyncIterator[AsyncEngine]:
    """An engine that is disposed of afterwards."""
    engine = create_engine(settings, statement_timeout_ms)
    try:
        yield engine
    finally:
        await engine.dispose()


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Raise the driver's errors as ours where it is known what they mean."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError) as error:
        meaning = from_postgres(error)
        if meaning is None:
            raise
        raise type(meaning)(f"Postgres: {meaning}") from error

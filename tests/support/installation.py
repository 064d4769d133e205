"""Installations: what the two stores say of themselves, and stores that were replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from esdbclient import AsyncEventStoreDBClient
from esdbclient.exceptions import NotFound
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.kurrentdb.standin import StandIn, start_standin
from tests.support.postgres import administrator
from worker.database import raw_connection
from worker.migration import find_reversal, revert_migration, run_migrations
from worker.outbox.installation import STREAM, read_id
from worker.settings import Settings

Start = Callable[..., Awaitable[StandIn]]


class Ids(NamedTuple):
    """What Postgres says, whether it is joined, and what KurrentDB says."""

    postgres: str
    is_joined: bool
    kurrentdb: str | None


async def ids(engine: AsyncEngine, client: AsyncEventStoreDBClient) -> Ids:
    """What the two stores say."""
    async with raw_connection(engine) as connection:
        own = await connection.fetchrow("SELECT id::text, joined_at IS NOT NULL FROM installation")
    return Ids(*own, await read_id(client))


@asynccontextmanager
async def kurrentdbs(folder: Path) -> AsyncIterator[Start]:
    """Start KurrentDBs by name, each with a log of its own in `folder`, at a port of one's choice."""
    async with AsyncExitStack() as started:

        async def start(name: str, port: int = 0) -> StandIn:
            standin = await start_standin(folder / name, port=port)
            started.push_async_callback(standin.stop)
            return standin

        yield start


@asynccontextmanager
async def client_of(uri: str) -> AsyncIterator[AsyncEventStoreDBClient]:
    """A client of a KurrentDB."""
    client = AsyncEventStoreDBClient(uri)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


async def streams_in(uri: str) -> set[str]:
    """The streams that a KurrentDB has."""
    async with client_of(uri) as client:
        return {event.stream_name async for event in await client.read_all()}


async def times_named(client: AsyncEventStoreDBClient) -> int:
    """How often a KurrentDB was given an id."""
    try:
        return len(await client.get_stream(STREAM))
    except NotFound:
        return 0


async def forget_installation(environment: Mapping[str, str]) -> None:
    """Leave the database as the migration leaves it that brings the id: with one of its own, and not joined."""
    async with administrator(environment, environment["DB_NAME"]) as connection:
        await connection.execute("UPDATE installation SET id = gen_random_uuid(), joined_at = NULL")


async def make_anew(environment: Mapping[str, str]) -> None:
    """Revert all migrations, and run them again: the same tables, and nothing in them."""
    settings = Settings.load(environment)
    while reversal := await find_reversal(settings):
        await revert_migration(settings, reversal.migration.revision)
    await run_migrations(settings)

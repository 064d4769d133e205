"""Joining stores on purpose: what an operator sees of the two ids, and a new one for both after one was replaced.

The id is new, not the old one given once more: whoever still has the store that was replaced must not pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from esdbclient import AsyncEventStoreDBClient
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import create_migration_engine, passing_failures, raw_transaction
from worker.errors import ForeignStore
from worker.outbox.connection import connect, kurrentdb_errors
from worker.outbox.installation import Standing, find_traces, lock_own, look, write_id
from worker.settings import Settings

RENAME = "UPDATE installation SET id = $1::uuid, joined_at = clock_timestamp()"


async def show(settings: Settings) -> Standing:
    """Compare the two, and change nothing; raises `Unavailable`."""
    async with _open(settings) as (engine, client):
        return await look(engine, client)


async def adopt(settings: Settings) -> str:
    """Join the two under a new id, and return it; raises `ForeignStore` where KurrentDB has other wallets.

    Killed in its middle, it leaves two ids that differ, which every process refuses: run it again.
    """
    id_ = str(uuid4())
    async with _open(settings) as (engine, client):
        traces = await find_traces(engine, client)
        if traces.in_kurrentdb and not traces.shared:
            raise ForeignStore(
                "not joined: KurrentDB has wallets, and the ledger has none of their events. Point KURRENTDB_URI or "
                "DB_NAME elsewhere, or restore the database that belongs to it"
            )
        async with passing_failures(), raw_transaction(engine) as connection:
            await lock_own(connection)
            await write_id(client, id_)
            await connection.execute(RENAME, id_)
    return id_


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, AsyncEventStoreDBClient]]:
    engine = create_migration_engine(settings)
    try:
        with kurrentdb_errors():
            connection = await connect(settings.kurrentdb_uri.get_secret_value())
        try:
            yield engine, connection.client
        finally:
            await connection.close()
    finally:
        await engine.dispose()

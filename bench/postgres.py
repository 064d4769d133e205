"""What Postgres says of itself: its version, and for how long it has worked for the sessions of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from worker.settings import Settings

# Statements being executed, whatever they wait for, and `COPY` while it reads. Sessions report it with up to a second's
# delay, so a difference is about right over runs of some seconds.
ACTIVE = "SELECT active_time / 1000 FROM pg_stat_database WHERE datname = current_database()"


@asynccontextmanager
async def connect_postgres(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the database that `settings` name."""
    connection = await asyncpg.connect(
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_username,
        password=settings.db_password.get_secret_value(),
        database=settings.db_name,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def active_seconds(settings: Settings) -> float:
    """For how long statements were being executed in the database since it was made, all sessions together."""
    async with connect_postgres(settings) as connection:
        return float(await connection.fetchval(ACTIVE))


async def postgres_version(settings: Settings) -> str:
    """The server's version, as it says itself."""
    async with connect_postgres(settings) as connection:
        return str(await connection.fetchval("SHOW server_version"))

"""Connections to Postgres: SQLAlchemy's pool, and out of it the raw asyncpg connection for hot statements and `COPY`.

Each session is bounded: it waits at most `LOCK_TIMEOUT_MS` for a lock, runs a statement for at most
`STATEMENT_TIMEOUT_MS`, and holds its locks idle for at most `IDLE_IN_TRANSACTION_TIMEOUT_MS`. A commit is on the disk
before it is acknowledged. A server, a database or a schema that is not what this program needs is refused as it is
connected to (`Fatal`). A session remembers which installation's tables it found (`REMEMBER_INSTALLATION`), so that a
batch notices other ones in their place.

A connection whose state is not known (cancelled, timed out, cut, a transaction left open) is ended, never given back to
the pool: Postgres rolls its transaction back, unless a `COMMIT` was on its way. That one's outcome is unknown, and is
found out by running the same command ids again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from worker.codecs import set_codecs
from worker.errors import Fatal, Unavailable
from worker.postgres_errors import from_postgres
from worker.schema import refuse_schema, refuse_server
from worker.settings import Settings

RawConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # generic in the stubs only

POOL_CONNECTIONS = 8
"""At most this many a process: a worker has a few batches in hand, each with one."""
POOL_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
COMMAND_TIMEOUT_S = 15
"""The client's own limit, for a server that no longer answers: later than the server's, which says more."""

LOCK_TIMEOUT_MS = 2_000
STATEMENT_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
MIGRATION_STATEMENT_TIMEOUT_MS = 600_000
"""An index on a large table takes its time; waiting for a lock stays as short as ever."""

FIND_ALIVE = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name = ANY($1::text[])
"""
# Compared with the table by each batch, in a statement that it makes anyway (`ledger/lock.py`): tables may be dropped
# and made anew, and a session goes on in the new ones as if they were the old.
REMEMBER_INSTALLATION = "SELECT set_config('wallex.installation', (SELECT id::text FROM installation), false)"

# Alive and useless: a session that may not write, that lost its prepared statements or its rights, or is being ended.
_USELESS = ("25006", "26000", "42501", "57P0")

log = structlog.get_logger(__name__)


def create_engine(
    settings: Settings,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    *,
    connections: int = POOL_CONNECTIONS,
    name: str = "wallex",
) -> AsyncEngine:
    """Return an engine of so many connections; none is made before its first use, and `dispose()` ends them.

    `name` is under what Postgres lists its sessions (`application_name`), of 63 bytes at most. Its
    first use raises `Fatal` where the schema is not the one that this program needs.
    """
    command_timeout_s = COMMAND_TIMEOUT_S + (statement_timeout_ms - STATEMENT_TIMEOUT_MS) / 1_000
    engine = create_async_engine(
        database_url(settings),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args=_connect_args(settings, statement_timeout_ms, name) | {"command_timeout": command_timeout_s},
        hide_parameters=True,
    )
    return _watched(engine, settings, needs_schema=True)


def create_migration_engine(settings: Settings) -> AsyncEngine:
    """Return an engine for the migrator's role, without a pool, whose statements may run long."""
    migrator = settings.as_migrator()
    engine = create_async_engine(
        database_url(migrator),
        poolclass=NullPool,
        connect_args=_connect_args(migrator, MIGRATION_STATEMENT_TIMEOUT_MS),
        hide_parameters=True,
    )
    return _watched(engine, settings, needs_schema=False)


def database_url(settings: Settings) -> sa.URL:
    """Return the URL of the runtime user's connection; its `str` hides the password."""
    return sa.URL.create(
        "postgresql+asyncpg",
        username=settings.db_username,
        password=settings.db_password.get_secret_value(),
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
    )


@asynccontextmanager
async def raw_connection(engine: AsyncEngine) -> AsyncIterator[RawConnection]:
    """Lend an asyncpg connection outside of any transaction; the caller leaves it so, or it is ended.

    Raises what asyncpg raises; where no connection can be had, `OSError` (no server), `TimeoutError` (no answer) or
    `sqlalchemy.exc.TimeoutError` (the pool's are all in use).
    """
    async with engine.connect() as pooled:
        raw = await _driver_connection(pooled)
        reusable = False
        try:
            yield raw
            reusable = not raw.is_in_transaction()
        except asyncpg.PostgresError as error:
            # The server itself answered, so what state it is in is known. After anything else it is not.
            if raw.is_in_transaction() and not raw.is_closed():
                await raw.execute("ROLLBACK")
            reusable = not (error.sqlstate or "").startswith(_USELESS)
            raise
        finally:
            if not reusable:
                _end(pooled, raw)


@asynccontextmanager
async def raw_transaction(engine: AsyncEngine) -> AsyncIterator[RawConnection]:
    """Lend an asyncpg connection in a `READ COMMITTED` transaction: committed after the block, rolled back on an error.

    A block that swallowed a database error is refused with `InFailedSQLTransactionError`: Postgres would answer its
    `COMMIT` with a quiet `ROLLBACK`. An error other than the server's own while committing leaves the outcome unknown.
    """
    async with raw_connection(engine) as raw:
        await raw.execute("BEGIN")
        yield raw
        if await raw.execute("COMMIT") != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("rolled back: an error of a statement in the block was swallowed")


async def find_alive(engine: AsyncEngine, names: Collection[str]) -> frozenset[str]:
    """Which of the processes of these names have sessions in this database; raises `Unavailable`."""
    async with passing_failures(), raw_connection(engine) as connection:
        return frozenset(row[0] for row in await connection.fetch(FIND_ALIVE, list(names)))


@asynccontextmanager
async def passing_failures() -> AsyncIterator[None]:
    """For what is tried again until it passes: raise `Unavailable` for every failure of Postgres but a bug.

    `Fatal` remains what it is: Postgres refuses us, or we its certificate.
    """
    try:
        yield
    except (Fatal, Unavailable):
        raise
    except Exception as error:
        meaning = from_postgres(error)
        if meaning is None:
            raise
        if isinstance(meaning, Fatal):
            raise meaning from error
        raise Unavailable(f"{type(error).__name__}: {error}", server="postgres") from error


def on_connect(engine: AsyncEngine, prepare: Callable[[RawConnection], Awaitable[None]]) -> None:
    """Have `prepare` awaited with each new connection of `engine`, which is ended, and not used, where that raises."""

    @event.listens_for(engine.sync_engine, "connect")
    def prepare_or_end(dbapi_connection: Any, _record: Any) -> None:
        try:
            dbapi_connection.run_async(prepare)
        except BaseException:
            dbapi_connection.driver_connection.terminate()
            raise


async def _driver_connection(pooled: AsyncConnection) -> RawConnection:
    """Unwrap the asyncpg connection, passing over those that died while they lay in the pool."""
    while True:
        raw = cast(RawConnection, (await pooled.get_raw_connection()).driver_connection)
        if not raw.is_closed():
            return raw
        # A revalidating SQLAlchemy connection takes the pool's next one, at last a new one.
        await pooled.invalidate()


def _end(pooled: AsyncConnection, raw: RawConnection) -> None:
    """End the connection without awaiting anything: a second cancellation must not bring it back into the pool."""
    raw.terminate()
    if pooled.sync_connection is not None:
        pooled.sync_connection.invalidate()


def _connect_args(settings: Settings, statement_timeout_ms: int, name: str = "wallex") -> dict[str, Any]:
    return {
        "timeout": CONNECT_TIMEOUT_S,
        "ssl": _tls(settings),
        "server_settings": {
            "application_name": name,
            "search_path": "public",
            "TimeZone": "UTC",
            "default_transaction_isolation": "read committed",
            "synchronous_commit": "on",
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "statement_timeout": str(statement_timeout_ms),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
            # Compiling costs more than our statements take, and large arrays make the planner think otherwise.
            "jit": "off",
        },
    }


def _tls(settings: Settings) -> ssl.SSLContext | bool:
    """With `DB_SSL_CA` the server's certificate and name are verified; `DB_SSL` alone encrypts, no more."""
    if settings.db_ssl_ca is not None:
        return ssl.create_default_context(cafile=str(settings.db_ssl_ca))
    if not settings.db_ssl:
        return False
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _watched(engine: AsyncEngine, settings: Settings, *, needs_schema: bool) -> AsyncEngine:
    """Give each connection our codecs, and end it where it leads to what is not needed.

    With `DB_LOGGING`, log every statement, raw ones as well, without parameters.
    """
    # Once a process: another one may migrate the database while this one runs.
    is_checked = not needs_schema

    async def ready(raw: RawConnection) -> None:
        nonlocal is_checked
        refuse_server(raw)
        if not is_checked:
            await refuse_schema(raw)
            is_checked = True
        await set_codecs(raw)
        if needs_schema:
            await raw.execute(REMEMBER_INSTALLATION)

    on_connect(engine, ready)
    if settings.db_logging:

        @event.listens_for(engine.sync_engine, "connect")
        def watch(dbapi_connection: Any, _record: Any) -> None:
            dbapi_connection.driver_connection.add_query_logger(_log_query)

    return engine


def _log_query(record: Any) -> None:
    failure = type(record.exception).__name__ if record.exception else None
    log.info("sql", query=record.query, elapsed_ms=round(record.elapsed * 1000, 3), failure=failure)

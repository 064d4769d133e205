"""Connections to Postgres: what a session is bound by, and which connections go back to the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from tests.support.postgres import administrator, migrated_database
from worker.database import create_engine, raw_connection, raw_transaction
from worker.health import Watched
from worker.settings import Settings


@pytest.fixture
async def environment(stack) -> AsyncIterator[dict[str, str]]:
    async with migrated_database(stack.environment()) as own:
        async with administrator(own, own["DB_NAME"]) as admin:
            await admin.execute("CREATE TABLE marks (name text PRIMARY KEY)")
        yield own


@pytest.fixture
async def engine(environment) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(Settings.load(environment))
    yield engine
    await engine.dispose()


async def marks(environment) -> list[str]:
    async with administrator(environment, environment["DB_NAME"]) as admin:
        return [row["name"] for row in await admin.fetch("SELECT name FROM marks ORDER BY name")]


async def backend(engine: AsyncEngine) -> int:
    """The server process behind the connection that the pool gives next."""
    async with raw_connection(engine) as connection:
        return connection.get_server_pid()


async def running_statement(environment, text: str) -> None:
    """Wait until the server runs a statement that contains `text`."""
    async with administrator(environment) as admin:
        query = "SELECT true FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()"
        while not await admin.fetchval(query, f"%{text}%"):  # noqa: ASYNC110 -- the server has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_transaction_is_committed_after_its_block(engine, environment):
    """What was written in the block stands for others after it, and not before."""
    async with raw_transaction(engine) as connection:
        await connection.execute("INSERT INTO marks VALUES ('a')")
        before = await marks(environment)

    assert before == []
    assert await marks(environment) == ["a"]


async def test_an_error_of_the_server_rolls_back_and_keeps_the_connection(engine, environment):
    """After the server's own answer the state is known: rolled back, the connection serves again."""
    first = await backend(engine)

    with pytest.raises(asyncpg.UniqueViolationError):
        async with raw_transaction(engine) as connection:
            await connection.execute("INSERT INTO marks VALUES ('a')")
            await connection.execute("INSERT INTO marks VALUES ('a')")

    assert await marks(environment) == []
    assert await backend(engine) == first


async def test_an_error_of_the_block_itself_rolls_back(engine, environment):
    """A bug between two statements leaves nothing behind."""
    with pytest.raises(ZeroDivisionError):
        async with raw_transaction(engine) as connection:
            await connection.execute("INSERT INTO marks VALUES ('a')")
            raise ZeroDivisionError

    assert await marks(environment) == []


async def test_a_swallowed_database_error_is_not_committed_in_silence(engine, environment):
    """Postgres answers such a COMMIT with a quiet ROLLBACK; the caller hears of it."""
    with pytest.raises(asyncpg.InFailedSQLTransactionError, match="swallowed"):
        async with raw_transaction(engine) as connection:
            await connection.execute("INSERT INTO marks VALUES ('a')")
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("SELECT * FROM nowhere")

    assert await marks(environment) == []


async def test_a_cancelled_transaction_ends_its_connection(engine, environment):
    """A task cancelled in mid-statement: the connection is not used again, and its writes are gone."""
    pids = []

    async def write_and_wait() -> None:
        async with raw_transaction(engine) as connection:
            pids.append(connection.get_server_pid())
            await connection.execute("INSERT INTO marks VALUES ('a')")
            await connection.execute("SELECT pg_sleep(8) AS cancelled_one")

    task = asyncio.create_task(write_and_wait())
    await running_statement(environment, "cancelled_one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await backend(engine) not in pids
    async with raw_transaction(engine) as connection:
        await connection.execute("INSERT INTO marks VALUES ('b')")
    assert await marks(environment) == ["b"]


async def test_a_timed_out_transaction_ends_its_connection(engine, environment):
    """The caller's own time limit counts like a cancellation."""
    first = await backend(engine)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), raw_transaction(engine) as connection:
            await connection.execute("INSERT INTO marks VALUES ('a')")
            await connection.execute("SELECT pg_sleep(8)")

    assert await backend(engine) != first
    assert await marks(environment) == []


async def test_a_transaction_left_open_never_reaches_the_pool(engine, environment):
    """Whoever forgets to commit on a lent connection loses the connection, and holds no locks for the next one."""
    async with raw_connection(engine) as connection:
        forgetful = connection.get_server_pid()
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO marks VALUES ('a')")

    assert await backend(engine) != forgetful
    assert await marks(environment) == []


async def test_a_connection_that_died_in_the_pool_is_passed_over(engine, environment):
    """After a restart of the server the first one to come gets a living connection."""
    async with raw_connection(engine) as connection:
        pid = connection.get_server_pid()
    async with administrator(environment) as admin:
        await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    while not connection.is_closed():  # noqa: ASYNC110 -- asyncpg has no event to wait for
        await asyncio.sleep(0.01)

    assert await backend(engine) != pid


async def test_the_pool_stays_whole_after_many_cancellations(engine, environment):
    """Ended connections give their places back: cancelling more tasks than the pool has places does no harm."""

    async def wait() -> None:
        async with raw_transaction(engine) as connection:
            await connection.execute("SELECT pg_sleep(8) AS one_of_many")

    for _ in range(3):
        tasks = [asyncio.create_task(wait()) for _ in range(4)]
        await running_statement(environment, "one_of_many")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert await backend(engine) > 0


async def test_a_session_is_bounded_and_durable(engine):
    """The limits and settings of each session, as the server sees them."""
    async with raw_connection(engine) as connection:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "synchronous_commit",
                 "transaction_isolation", "application_name", "TimeZone", "search_path")  # fmt: skip
        shown = {name: await connection.fetchval(f"SHOW {name}") for name in names}

    assert shown == {
        "lock_timeout": "2s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "application_name": "wallex",
        "TimeZone": "UTC",
        "search_path": "public",
    }


async def test_a_foreign_lock_is_not_waited_for_longer_than_the_limit(engine, environment):
    """Two seconds for a lock, then an error that says so."""
    async with administrator(environment, environment["DB_NAME"]) as admin, admin.transaction():
        await admin.execute("LOCK TABLE marks")

        with pytest.raises(asyncpg.LockNotAvailableError):
            async with raw_transaction(engine) as connection:
                await connection.execute("INSERT INTO marks VALUES ('a')")


async def test_db_logging_shows_statements_without_their_parameters(environment):
    """DB_LOGGING is for the eyes of operators: SQL, never the values in it."""
    engine = create_engine(Settings.load({**environment, "DB_LOGGING": "true"}))

    with capture_logs() as logged:
        async with raw_transaction(engine) as connection:
            await connection.execute("INSERT INTO marks VALUES ($1)", "private")
    await engine.dispose()

    assert "INSERT INTO marks VALUES ($1)" in [line["query"] for line in logged if line["event"] == "sql"]
    assert "private" not in str(logged)


async def test_the_engine_does_not_show_the_password(environment):
    """Whatever prints an engine prints no secret."""
    engine = create_engine(Settings.load({**environment, "DB_PASSWORD": "h1dden"}))

    assert "h1dden" not in f"{engine!r} {engine.url}"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ("SET default_transaction_read_only = on", asyncpg.ReadOnlySQLTransactionError),
        ("SET ROLE pg_monitor", asyncpg.InsufficientPrivilegeError),
    ],
)
async def test_a_session_that_is_alive_and_useless_leaves_the_pool(engine, environment, spoil, error):
    """It answers, and every command on it fails: what it is asked next must go to another one."""
    async with raw_connection(engine) as connection:
        spoilt = connection.get_server_pid()
        await connection.execute(spoil)

    with pytest.raises(error):
        async with raw_transaction(engine) as connection:
            assert connection.get_server_pid() == spoilt
            await connection.execute("INSERT INTO marks VALUES ('a')")

    async with raw_transaction(engine) as connection:
        assert connection.get_server_pid() != spoilt
        await connection.execute("INSERT INTO marks VALUES ('b')")
    assert await marks(environment) == ["b"]


async def test_a_session_whose_prepared_statements_are_gone_leaves_the_pool(engine):
    """A pooler took them away: a new session has its own."""
    async with raw_connection(engine) as connection:
        spoilt = connection.get_server_pid()
        await connection.fetch("SELECT name FROM marks")
        await connection.execute("DEALLOCATE ALL")

    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        async with raw_connection(engine) as connection:
            await connection.fetch("SELECT name FROM marks")

    assert await backend(engine) != spoilt


async def test_a_server_that_takes_no_writes_is_not_ready(engine, environment):
    """A standby, or a database that was made read-only: it answers every question but the one that counts."""
    watched = Watched(engine, *[None] * 7)
    await watched.has_postgres()
    async with administrator(environment) as admin:
        name = environment["DB_NAME"]
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await engine.dispose()

        with pytest.raises(asyncpg.ReadOnlySQLTransactionError, match="takes no writes"):
            await watched.has_postgres()
        await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

    await watched.has_postgres()

"""A Postgres, a database and a schema that are not what the program needs: refused before anything is done there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.postgres import administrator, empty_database, migrated_database
from worker import migration, schema
from worker.database import create_engine, create_migration_engine, raw_connection
from worker.errors import Fatal, NotDoneError
from worker.ledger.bounded import as_command_error
from worker.repository import WalletRepository
from worker.settings import Settings

LATIN1 = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
WALLEX = Path(sys.executable).with_name("wallex")

Unfit = Callable[[dict[str, str]], AbstractAsyncContextManager[dict[str, str]]]


@asynccontextmanager
async def latin1(environment: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    async with empty_database(environment, "template0", LATIN1) as own:
        yield own


@asynccontextmanager
async def at_revision(environment: dict[str, str], revision: str) -> AsyncIterator[dict[str, str]]:
    """A migrated database that says that it is at `revision`."""
    async with migrated_database(environment) as own:
        await execute(own, f"UPDATE alembic_version SET version_num = '{revision}'")
        yield own


@asynccontextmanager
async def older(environment: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    async with at_revision(environment, "0002") as own:
        yield own


@asynccontextmanager
async def newer(environment: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    async with at_revision(environment, "9999") as own:
        yield own


@asynccontextmanager
async def synced_long_ago(environment: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """Made by DB_SYNC, from models that lacked a column."""
    async with empty_database(environment) as own:
        await migration.sync_tables(Settings.load(own))
        await execute(own, "ALTER TABLE wallets DROP COLUMN quarantine_reason")
        yield own


SCHEMAS = {
    "empty": (empty_database, "the database has no tables of Wallex: run `wallex migrate run`"),
    "older": (older, "the schema is at 0002, and this program was written for"),
    "newer": (newer, "the schema is at 9999, newer than this program"),
    "synced long ago": (synced_long_ago, "the tables lack wallets.quarantine_reason: DB_SYNC"),
}
UNFIT = {**SCHEMAS, "encoding": (latin1, "the database has the encoding LATIN1")}


async def execute(environment: dict[str, str], statement: str) -> None:
    async with administrator(environment, environment["DB_NAME"]) as admin:
        await admin.execute(statement)


def wallex(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WALLEX, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("make", "said"), UNFIT.values(), ids=UNFIT)
async def test_a_worker_ends_with_one_line(stack, make: Unfit, said):
    """Exit code 70 before it has taken a command; the line says what to do."""
    async with make(stack.environment()) as own:
        ended = await asyncio.to_thread(wallex, own | {"HTTP_PORT": "0"}, "worker")

    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert ended.returncode == 70
    assert line.startswith("wallex worker: ") and said in line


@pytest.mark.parametrize(("make", "said"), UNFIT.values(), ids=UNFIT)
async def test_a_command_of_the_command_line_fails_with_one_line(stack, make: Unfit, said):
    """What compares, shows or repairs would take a foreign schema for lost data."""
    async with make(stack.environment()) as own:
        commands = (["verify"], ["wallet", str(uuid4()), "--version", "1"], ["quarantine", "list"])
        ended = await asyncio.gather(*(asyncio.to_thread(wallex, own, *command) for command in commands))

    assert all(one.returncode for one in ended)
    assert [one.stderr.count("\n") for one in ended] == [1, 1, 1], ended
    assert all(said in one.stderr for one in ended), ended


@pytest.mark.parametrize(("make", "said"), UNFIT.values(), ids=UNFIT)
async def test_code_beside_the_database_does_nothing_there(stack, make: Unfit, said):
    """A direct call says that nothing took effect, and why."""
    async with (
        make(stack.environment()) as own,
        WalletRepository.open(Settings.load(own)) as wallets,
    ):
        with pytest.raises(NotDoneError) as refused:
            await wallets.create_wallet(uuid4(), "owner")

    assert said in refused.value.details["reason"]


async def test_a_database_of_another_encoding_is_not_migrated(stack):
    """`€` would be refused by it later, in the middle of a command."""
    async with latin1(stack.environment()) as own:
        ended = await asyncio.to_thread(wallex, own, "migrate", "run")
        async with administrator(own, own["DB_NAME"]) as admin:
            tables = await admin.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")

    assert (ended.returncode, tables) == (1, 0)
    assert ended.stderr.count("\n") == 1 and "encoding LATIN1" in ended.stderr


@pytest.mark.parametrize("command", ["run", "revert", "show"])
async def test_a_schema_that_is_newer_is_left_alone_by_an_older_programs_migrations(stack, command):
    """Its own migrations say nothing of what the newer ones made."""
    async with newer(stack.environment()) as own:
        ended = await asyncio.to_thread(wallex, own, "migrate", command)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and "newer than this program" in ended.stderr


@pytest.mark.parametrize("create", [create_engine, create_migration_engine])
async def test_an_older_postgres_is_refused_by_whatever_connects(environment, monkeypatch, create):
    """At start and at `wallex migrate` alike: a direct call's time limit is unknown to it."""
    monkeypatch.setattr(schema, "POSTGRES_MAJOR_MIN", 1000)
    engine = create(Settings.load(environment))

    with pytest.raises(Fatal, match=r"Postgres is of version \d+: expected 1000 or later") as refused:
        await engine.connect().start()
    await engine.dispose()

    assert isinstance(as_command_error("id", refused.value), NotDoneError)


async def test_tables_that_db_sync_made_are_taken(stack):
    """There is no `alembic_version` then: that they have each column is enough."""
    async with empty_database(stack.environment()) as own:
        await migration.sync_tables(Settings.load(own))
        engine = create_engine(Settings.load(own))
        async with raw_connection(engine) as connection:
            assert await connection.fetchval("SELECT count(*) FROM wallets") == 0
        await engine.dispose()


async def test_a_process_that_runs_outlives_a_migration(environment):
    """What is refused at its start is not looked at again: workers are replaced one by one."""
    engine = create_engine(Settings.load(environment))
    async with raw_connection(engine):
        pass
    await execute(environment, "UPDATE alembic_version SET version_num = '9999'")

    async with raw_connection(engine) as first, raw_connection(engine) as second:
        assert first.get_server_pid() != second.get_server_pid()
    await engine.dispose()


async def test_no_session_is_left_behind_by_a_refusal(stack):
    """Readiness asks again and again: each refused session ends at once."""
    async with empty_database(stack.environment()) as own:
        engine = create_engine(Settings.load(own))
        for _ in range(3):
            with pytest.raises(Fatal, match="no tables"):
                await engine.connect().start()
        async with administrator(own) as admin, asyncio.timeout(10):
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
            while await admin.fetchval(sessions, own["DB_NAME"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await engine.dispose()

"""Databases for tests: each test has one of its own, and it is dropped afterwards.

They share a KurrentDB, so all of them are of one installation; a test about installations makes its own.

`migrated_database` clones a template that is migrated once for each state of `migrations/`: 20 to 50 ms instead of a
second. Both give the environment that points at the new database: `Settings.load(environment)` here, or for a process.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from worker.migration import PROJECT, run_migrations
from worker.settings import Settings

TEMPLATE_PREFIX = "wallex_template_"
INSTALLATION = "5a5a5a5a-0000-4000-8000-000000000001"
"""The id of every database, and so of the KurrentDB that the tests share, from run to run."""
TEMPLATE_TURN = 0x54455354
"""Key of the advisory lock under which one of several test runs makes the template."""


@asynccontextmanager
async def empty_database(
    environment: Mapping[str, str], template: str = "template1", options: str = ""
) -> AsyncIterator[dict[str, str]]:
    """Create a database with `options`, give `environment` with its name; drop it whoever is still connected."""
    name = f"test_{uuid4().hex}"
    async with administrator(environment) as admin:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
    try:
        yield {**environment, "DB_NAME": name}
    finally:
        async with administrator(environment) as admin:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def migrated_database(environment: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """Create a database that has all migrations; otherwise as `empty_database`."""
    async with empty_database(environment, await _template(environment)) as own:
        yield own


@asynccontextmanager
async def administrator(
    environment: Mapping[str, str], database: str = "postgres"
) -> AsyncIterator[asyncpg.Connection]:
    """Connect as the stack's superuser, to a database that no test uses unless another is named."""
    settings = Settings.load(environment)
    connection = await asyncpg.connect(
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_username,
        password=settings.db_password.get_secret_value(),
        database=database,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _template(environment: Mapping[str, str]) -> str:
    """Return the template's name, made at the first call; a template that was left half made is made again."""
    scripts = sorted((PROJECT / "migrations" / "versions").glob("*.py"))
    digest = hashlib.sha256(b"".join(script.read_bytes() for script in scripts)).hexdigest()
    name, unfinished = f"{TEMPLATE_PREFIX}{digest[:12]}", f"{TEMPLATE_PREFIX}unfinished"
    async with administrator(environment) as admin:
        await admin.fetchval("SELECT pg_advisory_lock($1)", TEMPLATE_TURN)
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await _drop_templates(admin)
            await admin.execute(f"CREATE DATABASE {unfinished}")
            await run_migrations(Settings.load({**environment, "DB_NAME": unfinished}))
            async with administrator(environment, unfinished) as connection:
                await connection.execute("UPDATE installation SET id = $1", INSTALLATION)
            await admin.execute(f"ALTER DATABASE {unfinished} RENAME TO {name}")
    return name


async def _drop_templates(admin: asyncpg.Connection) -> None:
    """Drop those of earlier states of `migrations/`."""
    for row in await admin.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", TEMPLATE_PREFIX):
        await admin.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")

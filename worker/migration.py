"""The schema's life: run, revert and list the revisions in `migrations/`, write new ones, grant the runtime its rights.

Everything runs as the migrator (`DB_MIGRATION_USERNAME`, by default the runtime's own user). Safe to run in several
processes at once and to repeat. A statement waits two seconds for a lock and then fails, for whoever queued behind it
would wait as well; nothing is left half done then, and it may be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import DropColumnOp, DropTableOp, MigrateOperation, MigrationScript
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

from worker.database import LOCK_TIMEOUT_MS, create_migration_engine
from worker.errors import Fatal
from worker.schema import say_newer
from worker.settings import Settings, SettingsError
from worker.tables import metadata

PROJECT = Path(__file__).resolve().parent.parent
"""The folder that holds `alembic.ini` and `migrations/` beside the package."""

MIGRATION_TURN = 0x57414C4C4558
"""Key of the advisory lock that migrating processes take, "WALLEX" in ASCII."""
MIGRATION_TURN_WAIT_MS = 120_000

# What the runtime role may do, and all it may do: history is written once, and nothing is ever deleted.
RUNTIME_GRANTS = {
    "wallets": "SELECT, INSERT, UPDATE",
    "holds": "SELECT, INSERT, UPDATE",
    "ledger": "SELECT, INSERT",
    "commands": "SELECT, INSERT",
    "alembic_version": "SELECT",
    "installation": "SELECT, UPDATE (joined_at)",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Migration:
    """One revision in `migrations/`, and whether the database has it."""

    revision: str
    title: str
    applied: bool


@dataclass(frozen=True)
class Reversal:
    """What reverting the last migration that was run would do: `loses` are tables, and columns as `table.column`."""

    migration: Migration
    loses: tuple[str, ...]


async def run_migrations(settings: Settings) -> list[Migration]:
    """Run the pending migrations and grant the runtime role its rights; return those that were pending.

    As everything here that reads the database, it raises `Fatal` for a schema that is newer than `migrations/`, and for
    a server or database that cannot hold the wallets (`worker.schema`).
    """

    def upgrade(config: Config) -> list[Migration]:
        pending = [migration for migration in _list(config) if not migration.applied]
        command.upgrade(config, "head")
        return pending

    return await _with_alembic(settings, upgrade)


async def find_reversal(settings: Settings) -> Reversal | None:
    """Return what `revert_migration` would undo; None if nothing was run. Changes nothing, and locks nothing."""

    def find(config: Config) -> Reversal | None:
        applied = [migration for migration in _list(config) if migration.applied]
        return Reversal(applied[-1], _find_losses(config, applied[-1].revision)) if applied else None

    return await _with_alembic(settings, find)


async def revert_migration(settings: Settings, revision: str) -> None:
    """Undo `revision`, the last migration that was run, with what its tables and columns hold.

    Nothing is done where another process has undone it meanwhile.
    """

    def downgrade(config: Config) -> None:
        config.attributes["may_lose_data"] = True
        script = ScriptDirectory.from_config(config).get_revision(revision)
        command.downgrade(config, str(script.down_revision or "base"))

    await _with_alembic(settings, downgrade)


async def list_migrations(settings: Settings) -> list[Migration]:
    """Return all migrations, the oldest first."""
    return await _with_alembic(settings, _list)


async def generate_migration(settings: Settings, title: str) -> Path | None:
    """Write a migration that makes the database equal to `worker.tables`; None if it is equal already."""

    def generate(config: Config) -> Path | None:
        return _write(config, title, autogenerate=True, process_revision_directives=_drop_empty)

    return await _with_alembic(settings, generate)


def create_migration(settings: Settings, title: str) -> Path | None:
    """Write an empty migration to be filled in by hand; needs no database."""
    return _write(alembic_config(settings), title)


async def sync_tables(settings: Settings) -> None:
    """Create the tables that are missing, from `worker.tables` (`DB_SYNC`: a throw-away database, without Alembic)."""
    engine = create_migration_engine(settings)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(take_migration_turn)
            await connection.run_sync(metadata.create_all)
            await connection.execute(sa.text("INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING"))
            await connection.run_sync(grant_runtime_role, settings)
    finally:
        await engine.dispose()


def take_migration_turn(connection: Connection) -> None:
    """Wait until no other process is migrating this database, until the end of the transaction."""
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {MIGRATION_TURN_WAIT_MS}"))
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_TURN})
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))


def grant_runtime_role(connection: Connection, settings: Settings) -> None:
    """Give `DB_USERNAME` exactly `RUNTIME_GRANTS`, if the migrator is another role; an owner's rights are its own."""
    if settings.as_migrator().db_username == settings.db_username:
        return
    role = connection.dialect.identifier_preparer.quote_identifier(settings.db_username)
    existing = set(sa.inspect(connection).get_table_names())
    for table in sorted(RUNTIME_GRANTS.keys() & existing):
        connection.execute(sa.text(f"REVOKE ALL ON {table} FROM {role}"))
        connection.execute(sa.text(f"GRANT {RUNTIME_GRANTS[table]} ON {table} TO {role}"))


def alembic_config(settings: Settings, connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, raising `SettingsError` where `alembic.ini` does not lie beside the package."""
    file = PROJECT / "alembic.ini"
    if not file.is_file():
        raise SettingsError(f"no {file}: expected alembic.ini and migrations/ beside the package, as in a checkout")
    return Config(file, attributes={"connection": connection, "settings": settings})


async def _with_alembic(settings: Settings, act: Callable[[Config], T]) -> T:
    engine = create_migration_engine(settings)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: act(alembic_config(settings, sync)))
    finally:
        await engine.dispose()


def _list(config: Config) -> list[Migration]:
    connection = config.attributes["connection"]
    scripts = ScriptDirectory.from_config(config)
    heads = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    for head in heads:
        if head not in known:
            raise Fatal(say_newer(head))
    # Alembic manages the transaction of what comes next itself, and only on a connection that is in none.
    connection.rollback()
    applied = {script.revision for script in scripts.iterate_revisions(heads, "base")}
    everything = reversed(list(scripts.walk_revisions()))
    return [Migration(script.revision, script.doc, script.revision in applied) for script in everything]


def _find_losses(config: Config, revision: str) -> tuple[str, ...]:
    """The tables, and columns of other tables, that undoing `revision` drops."""
    connection = config.attributes["connection"]
    lost: list[str] = []

    def note(operation: MigrateOperation) -> None:
        if isinstance(operation, DropTableOp):
            lost.append(operation.table_name)
        if isinstance(operation, DropColumnOp):
            lost.append(f"{operation.table_name}.{operation.column_name}")

    with Operations.context(MigrationContext.configure(connection)) as operations:
        # Instead of being executed, each of its operations is looked at.
        operations.invoke = note  # type: ignore[method-assign, assignment]
        ScriptDirectory.from_config(config).get_revision(revision).module.downgrade()
    connection.rollback()
    return tuple(lost)


def _write(config: Config, title: str, **options: Any) -> Path | None:
    """Write a revision numbered one after the last, so that the folder lists them in order."""
    numbers = [int(script.revision) for script in ScriptDirectory.from_config(config).walk_revisions()]
    script = command.revision(config, title, rev_id=f"{max(numbers, default=0) + 1:04d}", **options)
    return Path(script.path) if isinstance(script, Script) else None


def _drop_empty(_context: object, _revision: object, directives: list[MigrationScript]) -> None:
    """Keep Alembic from writing a file where autogenerate found nothing to do."""
    if directives[0].upgrade_ops is not None and directives[0].upgrade_ops.is_empty():
        directives.clear()

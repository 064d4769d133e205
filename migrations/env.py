"""What Alembic runs for each of its commands: connect as the migrator, take turns, migrate, grant; one transaction.

Processes that migrate at once wait for each other on an advisory lock, and all but the first find nothing left to do.
Called by `worker.migration` it uses the connection that it is given; called by `alembic` it makes its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from alembic import context
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError
from sqlalchemy import Connection

from worker.database import create_migration_engine, database_url
from worker.migration import grant_runtime_role, take_migration_turn
from worker.settings import Settings
from worker.tables import metadata
from worker.telemetry.logs import configure_logs

log = structlog.get_logger("migrations")

COMPARED = {"target_metadata": metadata, "compare_type": True, "compare_server_default": True}


def log_applied(*, step: MigrationInfo, **_: Any) -> None:
    direction = "upgrade" if step.is_upgrade else "downgrade"
    log.info("migration_applied", revision=step.up_revision_id, direction=direction)


def migrate(connection: Connection, settings: Settings) -> None:
    def refuse_loss(*, step: MigrationInfo, **_: Any) -> None:
        # Raised within the transaction: what `alembic downgrade` has dropped so far is there again.
        agreed = settings.environment != "production" or context.config.attributes.get("may_lose_data", False)
        if not (step.is_upgrade or agreed):
            raise CommandError(
                f"{step.up_revision_id} is not reverted when ENVIRONMENT=production: "
                "`wallex migrate revert` says what would be lost, and how to agree to that"
            )

    context.configure(connection=connection, on_version_apply=(refuse_loss, log_applied), **COMPARED)
    with context.begin_transaction():
        take_migration_turn(connection)
        context.run_migrations()
        # Only upgrade, downgrade and stamp name a destination; a look (`check`, `current`) grants nothing.
        if "destination_rev" in context.get_context().opts:
            grant_runtime_role(connection, settings)


async def connect_and_migrate(settings: Settings) -> None:
    engine = create_migration_engine(settings)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate, settings)
    finally:
        await engine.dispose()


def print_sql(settings: Settings) -> None:
    """`alembic upgrade head --sql`: the statements for someone else to run; the grants are theirs as well."""
    context.configure(url=database_url(settings), literal_binds=True, **COMPARED)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given, context.config.attributes["settings"])
else:
    environment = Settings.load()
    configure_logs(environment.log_level)
    if context.is_offline_mode():
        print_sql(environment)
    else:
        asyncio.run(connect_and_migrate(environment))

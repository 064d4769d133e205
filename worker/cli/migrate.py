"""`wallex migrate …`: the schema, over Alembic, as the migrator (`DB_MIGRATION_USERNAME`).

Each command may be repeated, and run beside running workers. What goes wrong is said in one line, exit code 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from worker import migration
from worker.cli.output import fail
from worker.errors import WallexError
from worker.settings import Settings
from worker.telemetry.logs import configure_logs

Name = Annotated[str, typer.Argument(help="What it does, in a few words; becomes the file's name.")]

Lose = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="What is lost, in the question's words, separated by commas ('nothing' where no data is): answers it. "
        "Required when ENVIRONMENT=production.",
    ),
]

commands = typer.Typer(help="Run, revert, show and write migrations.")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="migrate")


@commands.command()
def run() -> None:
    """Run the pending migrations."""
    with _settings() as settings:
        pending = asyncio.run(migration.run_migrations(settings))
    for done in pending:
        typer.echo(f"ran {done.revision} {done.title}")
    if not pending:
        typer.echo("nothing to run: the schema is up to date")


@commands.command()
def revert(lose: Lose = None) -> None:
    """Undo the last migration that was run, with all that its tables and columns hold; asks first."""
    with _settings() as settings:
        reversal = asyncio.run(migration.find_reversal(settings))
        if reversal is None:
            typer.echo("nothing to revert")
            return
        _refuse_unless_agreed(reversal, lose, settings)
        asyncio.run(migration.revert_migration(settings, reversal.migration.revision))
    typer.echo(f"reverted {reversal.migration.revision} {reversal.migration.title}")


def _refuse_unless_agreed(reversal: migration.Reversal, lose: str | None, settings: Settings) -> None:
    """End with 1 unless whoever calls knows what is lost: by `--lose`, or, outside of production, by an answer."""
    loses = ",".join(reversal.loses) or "nothing"
    what = (
        f"reverting {reversal.migration.revision} {reversal.migration.title} drops {loses} with all data in it"
        if reversal.loses
        else f"reverting {reversal.migration.revision} {reversal.migration.title} drops no data"
    )
    where = _place(settings)
    if lose is not None:
        named = {name.strip() for name in lose.split(",")}
        if named != set(loses.split(",")):
            fail(f"{where}: {what}; --lose says {lose!r}: expected --lose {loses}", 1)
        return
    if settings.environment == "production":
        fail(f"{where}: {what}; refused when ENVIRONMENT=production, unless --lose {loses} is given", 1)
    try:
        typer.confirm(f"{where}: {what}. Revert it?", abort=True)
    except typer.Abort:
        fail(f"nothing was reverted; --lose {loses} answers without a question", 1)


@commands.command()
def show() -> None:
    """List all migrations, [X] where applied; exit code 1 if any is pending."""
    with _settings() as settings:
        migrations = asyncio.run(migration.list_migrations(settings))
    for one in migrations:
        typer.echo(f"[{'X' if one.applied else ' '}] {one.revision} {one.title}")
    if not all(one.applied for one in migrations):
        raise typer.Exit(1)


@commands.command()
def generate(name: Name) -> None:
    """Write a migration with what differs between the database and worker/tables.py; exit code 1 if nothing does."""
    with _settings() as settings:
        file = asyncio.run(migration.generate_migration(settings, name))
    if file is None:
        typer.echo("nothing to generate: the database has what worker/tables.py says")
        raise typer.Exit(1)
    typer.echo(f"wrote {file}")


@commands.command()
def create(name: Name) -> None:
    """Write an empty migration, to be filled in by hand."""
    with _settings() as settings:
        file = migration.create_migration(settings, name)
    typer.echo(f"wrote {file}")


@contextmanager
def _settings() -> Iterator[Settings]:
    """Give the settings, and turn what the database or Alembic refuses into one line and exit code 1."""
    settings = Settings.load()
    configure_logs(settings.log_level)
    try:
        yield settings
    except (OSError, DBAPIError, CommandError, WallexError) as error:
        # A driver's error has its server's own words; SQLAlchemy's text around them would show the statement.
        reason = error.orig if isinstance(error, DBAPIError) else error
        typer.echo(f"wallex: cannot migrate {_place(settings)}: {reason}", err=True)
        raise typer.Exit(1) from error


def _place(settings: Settings) -> str:
    return f"{settings.db_host}:{settings.db_port}/{settings.db_name}"

"""`wallex installation …`: whether Postgres and KurrentDB belong together, and how to say so where one was replaced.

Every process compares the two and ends where they do not. Nothing here is needed while they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from worker.cli.output import fail, quiet_clients, say
from worker.errors import WallexError
from worker.outbox import adoption
from worker.outbox.installation import Standing
from worker.settings import Settings

Sure = Annotated[bool, typer.Option("--yes", help="Do it. Without it, only say what would be done.")]

commands = typer.Typer(help="Show whether the stores belong together, and join a store that was replaced.")

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Hang the commands into `app`."""
    app.add_typer(commands, name="installation")


@commands.command()
def show() -> None:
    """Show the ids of Postgres and KurrentDB. Exit 1: they do not belong together, and no process would start."""
    _show(_run(adoption.show))


@commands.command()
def adopt(yes: Sure = False) -> None:
    """Join this Postgres and this KurrentDB under a new id, after one of them was replaced on purpose.

    Runs as the migrator. Processes that still run with the stores as they were end with a line; start them again
    afterwards. Exit 1: KurrentDB has wallets that the ledger does not know, so it is another installation's.
    """
    if not yes:
        _show(_run(adoption.show))
        fail("nothing was done: stop all processes, then say --yes to join these two stores under a new id", 1)
    say(f"joined as installation {_run(adoption.adopt)}; if KurrentDB lacks events: `wallex verify --repair`")


def _show(standing: Standing) -> None:
    say(f"Postgres:  {standing.own.id}, {'joined to a KurrentDB' if standing.own.is_joined else 'not joined yet'}")
    say(f"KurrentDB: {standing.found or 'no id yet'}")
    if standing.why is not None:
        fail(f"they do not belong together: {standing.why}", 1)
    say("they belong together")


def _run(work: Callable[[Settings], Awaitable[T]]) -> T:
    settings = Settings.load()
    quiet_clients(settings)

    async def call() -> T:
        return await work(settings)

    try:
        return asyncio.run(call())
    except WallexError as error:
        fail(str(error), 1)

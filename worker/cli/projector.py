"""`wallex projector`: keep Elasticsearch in sync with KurrentDB, until it is told to stop.

May be killed at any time, and run more than once. Exit code 1, with one line, when a person is needed: a document that
Elasticsearch refuses, an event that cannot be read, indices made from another KurrentDB.
"""

from __future__ import annotations

import typer

from worker.cli.output import say
from worker.errors import Contradiction, Fatal
from worker.event_loop import open_runner
from worker.projection.projector import run_projector
from worker.settings import Settings
from worker.telemetry.logs import configure_logs


def register(app: typer.Typer) -> None:
    app.command()(projector)


def projector() -> None:
    """Keep Elasticsearch in sync with KurrentDB: the aliases wallets, wallet-holds and wallet-ledger."""
    settings = Settings.load()
    configure_logs(settings.log_level)
    try:
        with open_runner() as runner:
            runner.run(run_projector(settings))
    except (Fatal, Contradiction) as error:
        say(f"wallex: the projector stops: {error}", err=True)
        raise typer.Exit(1) from error

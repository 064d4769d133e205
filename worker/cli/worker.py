"""`wallex worker`: consume commands, the main job."""

from __future__ import annotations

import typer

from worker.app import create_app
from worker.cli.output import say
from worker.event_loop import open_runner
from worker.process import EXIT_FATAL
from worker.settings import Settings


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("worker")(worker)


def worker() -> int:
    """Consume commands until SIGTERM or SIGINT. Exit 70: it could not go on, and said why."""
    app, process = create_app(Settings.load())
    with open_runner() as runner:
        try:
            runner.run(app.run())
        except Exception as error:
            told = process.ended_by(error)
            if told is None:
                raise
            say(f"wallex worker: {told}", err=True)
            return EXIT_FATAL
    return 0

"""The command line, `wallex`: one module a group of commands, imported only when the group is called.

To add a group: a line in `GROUPS`, and `worker/cli/<name>.py` with a function `register(app)` that hangs its commands
into the typer app. Exit codes: 0 done; 1 the answer is no, or it failed; 64 a wrong command line or a wrong
environment, said in one line on stderr; 130 interrupted. A command may add its own and names them in its help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from worker.settings import SettingsError

# gRPC's core reads it when it is loaded. What it writes to stderr by itself stands in our own lines, as JSON.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

EXIT_USAGE = 64
"""`EX_USAGE` of sysexits.h: the command line or the environment is wrong, and the same again will not help."""
EXIT_INTERRUPTED = 130

# What `wallex --help` says of each group, so that it has to import none.
GROUPS = {
    "worker": "Consume commands: the main job.",
    "projector": "Keep Elasticsearch in sync.",
    "scheduler": "Publish the scheduled messages.",
    "migrate": "Run, revert, show and write migrations.",
    "send": "Publish one command, and wait for its reply.",
    "replies": "Read the reply topic.",
    "wallet": "Show what every store knows of a wallet.",
    "command": "Show what every store knows of a command.",
    "statement": "Show a wallet's entries.",
    "dlq": "List, show and replay dead letters.",
    "quarantine": "List, show and release wallets whose stores contradict each other.",
    "installation": "Show whether Postgres and KurrentDB belong together.",
    "verify": "Compare Postgres, KurrentDB and Elasticsearch.",
    "projection": "Build the read model anew.",
    "schemas": "Write schemas/ from the models.",
}


def main() -> None:
    """Run the command that the process was called with, and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    app = _app(arguments[0] if arguments else "")
    try:
        code = app(list(arguments) or ["--help"], prog_name="wallex", standalone_mode=False)
    except typer.TyperException as error:
        return _refuse(f"{error.format_message()} `wallex --help` and `wallex COMMAND --help` say what there is.")
    except SettingsError as error:
        return _refuse(str(error))
    except typer.Abort:
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


def _refuse(reason: str) -> int:
    print(f"wallex: {reason}", file=sys.stderr)  # noqa: T201 -- a command line speaks to whoever typed it
    return EXIT_USAGE


def _app(called: str) -> typer.Typer:
    """Build the app with the called group's own commands, and a line of help for each of the others."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, callback=_root)
    for name, summary in GROUPS.items():
        if name == called:
            import_module(f"worker.cli.{name}").register(app)
        else:
            app.command(name, help=summary)(_not_called)
    return app


def _not_called() -> None:
    """Stand in for a group that this command line does not call."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wallex {version('wallex')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Wallex, the wallet worker: commands from Kafka, run exactly once in effect, answered on a reply topic."""

"""How the commands speak: results on stdout, trouble on stderr in one line, tables that stay readable in a pipe."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.contracts.times import format_time
from worker.settings import Settings
from worker.telemetry.logs import configure_logs

PIPE_COLUMNS = 200
"""Wide enough for a table of ids where no terminal says how wide it is."""


def quiet_clients(settings: Settings) -> None:
    """Keep the clients' own log lines out of the way: that a server is away is said once, by the command."""
    configure_logs(settings.log_level)
    for name in ("aiokafka", "elastic_transport"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def fail(message: str, code: int) -> NoReturn:
    """Say on stderr what is wrong, and end with `code`."""
    typer.echo(f"wallex: {message}", err=True)
    raise typer.Exit(code)


def print_json(content: Any) -> None:
    """One object on one line, as it is for a script."""
    typer.echo(orjson.dumps(content, default=str).decode())


def print_table(table: Table) -> None:
    """Print `table`, as wide as the terminal, or as it needs to be."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE_COLUMNS)
    console.print(table)


def new_table(title: str, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table with `columns`, those in `right` aligned to the right as money and numbers are."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def plain(*cells: object) -> list[Text]:
    """Cells as they are, without markup: a wallet's owner may well be called [red]."""
    return [Text("" if cell is None else str(cell)) for cell in cells]


def printable(text: str) -> str:
    """`text` on one line, with escapes for what a terminal would act upon: a stranger wrote it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def show_time(value: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    return f"{format_time(value)[:23]}Z".replace("T", " ") if value else ""

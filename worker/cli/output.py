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
    say(f"wallex: {message}", err=True)
    raise typer.Exit(code)


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whoever wrote what stands in it: `printable`."""
    typer.echo(printable(line), err=err)


def print_json(content: Any) -> None:
    """One object on one line, as it is for a script."""
    print_json_text(orjson.dumps(content, default=str).decode())


def print_json_text(text: str) -> None:
    """JSON that is written already. What a terminal would act upon stands in its texts, and is escaped as JSON can."""
    # Outside of texts only white space is allowed, and these three only there.
    typer.echo("".join(one if one.isprintable() or one in "\t\r\n" else _json_escape(one) for one in text))


def print_table(table: Table) -> None:
    """Print `table`, as wide as the terminal, or as it needs to be."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE_COLUMNS)
    console.print(table)


def new_table(title: str, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table with `columns`, those in `right` aligned to the right as money and numbers are."""
    table = Table(title=Text(printable(title)), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def plain(*cells: object) -> list[Text]:
    """Cells as `printable` text, without markup: a wallet's owner may well be called [red]."""
    return [Text("" if cell is None else printable(str(cell))) for cell in cells]


def printable(text: str) -> str:
    """`text` on one line, with escapes for what a terminal would act upon or not show: a stranger may have written it.

    That is: controls (C0, DEL, C1), line breaks of every kind, marks of direction, what has no width, every space but
    the usual one. The same again changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _json_escape(character: str) -> str:
    digits = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{digits[start : start + 4]}" for start in range(0, len(digits), 4))


def show_time(value: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    return f"{format_time(value)[:23]}Z".replace("T", " ") if value else ""

"""How the demo looks: headings, tables, a progress bar. Fine in a terminal, and as plain text in a pipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.shop import Step

PIPE_WIDTH = 120

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPE_WIDTH)
OUTPUT_WIDTH = console.width if console.is_terminal else 170
"""For the tables of other commands; in a pipe wide enough for their widest."""


def heading(title: str, why: str) -> None:
    """Say what happens now, and why."""
    console.print()
    console.rule(f"[bold]{title}", align="left")
    console.print(f"[dim]{why}")


def fact(text: str) -> None:
    """Say what came out."""
    console.print(f"  {text}", soft_wrap=True)


def output(command: str, text: str) -> None:
    """Show a command with what it printed."""
    console.print(f"  [bold]$ {command}")
    console.print(text.rstrip(), markup=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: int) -> Iterator[Any]:
    """A bar for `total` replies; gives a function that is told how many there are."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def replies(counted: Counter[tuple[str, str, str]], kinds: Sequence[str]) -> None:
    """A table of what was sent and how it was answered; then one by status and code."""
    table = Table(title="what was sent, and how it was answered", title_justify="left")
    for name, justify in (("sent", "left"), ("answered", "left"), ("code", "left"), ("records", "right")):
        table.add_column(name, justify=justify)
    for kind in kinds:
        rows = sorted(item for item in counted.items() if item[0][0] == kind)
        for number, ((_, status, code), count) in enumerate(rows):
            table.add_row("" if number else kind, _coloured(status), code, f"{count:,}")
    console.print(table)
    totals: Counter[tuple[str, str]] = Counter()
    for (_, status, code), count in counted.items():
        totals[status, code] += count
    table = Table("status", "code", title="replies by status and code", title_justify="left")
    table.add_column("replies", justify="right")
    for (status, code), count in sorted(totals.items()):
        table.add_row(_coloured(status), code, f"{count:,}")
    console.print(table)


def steps(title: str, taken: Sequence[Step]) -> None:
    """A table of a story's steps, with what each wallet has available behind it."""
    table = Table("what is asked", "answered", title=title, title_justify="left")
    for name in ("buyer", "shop"):
        table.add_column(f"{name} has", justify="right")
    for step in taken:
        answered = f"[yellow]{step.code}" if step.code else _coloured("accepted")
        table.add_row(step.what, answered, step.wallets.get("buyer", ""), step.wallets.get("shop", ""))
    console.print(table)


def documents(title: str, found: Sequence[Mapping[str, Any]], fields: Mapping[str, str]) -> None:
    """A table of documents; `fields` gives the columns' names."""
    table = Table(title=title, title_justify="left")
    for name in fields.values():
        table.add_column(name, justify="right" if name in ("amount", "balance", "version") else "left")
    for document in found:
        table.add_row(*(str(document[name]) for name in fields))
    console.print(table)


def _coloured(status: str) -> str:
    return f"[green]{status}" if status == "accepted" else f"[yellow]{status}"

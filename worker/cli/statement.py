"""`wallex statement ID`: a wallet's lines in a period, from Elasticsearch, as a table, JSON or CSV.

Streams: any number of lines in little memory. Money is exact text in each of them.
"""

from __future__ import annotations

import asyncio
import csv
import re
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.audit.statement import Line, Period, open_statements
from worker.cli import EXIT_USAGE
from worker.cli.output import fail, print_json, printable, quiet_clients, say
from worker.cli.times import read_time
from worker.contracts.money import format_money
from worker.errors import WallexError
from worker.settings import Settings

_ROW = "{:<27}  {:>8}  {:<14}  {:>29}  {:>20}  {:>20}  {:>20}  {:<36}  {:<36}  {}"
HEADING = _ROW.format(
    "time (UTC)", "version", "event", "amount", "balance", "held", "available", "other wallet", "hold", "reference"
)
CSV_COLUMNS = (
    "occurredAt",
    "version",
    "eventType",
    "amount",
    "reserved",
    "balance",
    "heldBalance",
    "availableBalance",
    "currency",
    "counterpartyWalletId",
    "holdId",
    "reference",
    "commandId",
)
_FORMULA = r"=+\-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with, in full width too."""
_formula_begins = re.compile(rf"\A(?=[{_FORMULA}\t\r\n])|(?<=[;\t\r\n\v\f\x85\u2028\u2029])(?=[{_FORMULA}])")
"""Where a spreadsheet would run a formula, were it to begin a cell at such a place (OWASP, "CSV Injection")."""

Id = Annotated[UUID, typer.Argument(help="The wallet's id.")]
From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=read_time,
        metavar="TIME",
        help="From this time on: 2026-11-22T12:00:00Z, or a date for its beginning in UTC.",
        show_default=False,
    ),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", parser=read_time, metavar="TIME", help="Up to and without this time.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object a line.")]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="For a spreadsheet: a reference that it would run as a formula gets a ' in front.")
]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("statement")(statement)


def statement(id_: Id, from_: From = None, to: To = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show a wallet's entries, as the projector has written them: about a second behind. Exit 1: no such wallet."""
    settings = Settings.load()
    quiet_clients(settings)
    if as_json and as_csv:
        fail("--json and --csv both say how, expected one of them", EXIT_USAGE)
    if from_ is not None and to is not None and from_ >= to:
        fail("--from is not before --to, expected a period", EXIT_USAGE)
    try:
        asyncio.run(_show(settings, str(id_), Period(from_, to), as_json=as_json, as_csv=as_csv))
    except WallexError as error:
        fail(str(error), 1)


async def _show(settings: Settings, wallet_id: str, period: Period, *, as_json: bool, as_csv: bool) -> None:
    async with open_statements(settings) as statements:
        if not await statements.knows(wallet_id):
            fail(f"Elasticsearch has no wallet {wallet_id}; a new one is there after about a second", 1)
        lines = statements.lines(wallet_id, period)
        if as_json:
            async for line in lines:
                print_json(_as_json(line))
        elif as_csv:
            await _print_csv(lines)
        else:
            await _print_table(lines, await statements.balance_before(wallet_id, period.start))


async def _print_table(lines: AsyncIterator[Line], opening: Decimal) -> None:
    closing, count = opening, 0
    say(HEADING)
    async for line in lines:
        closing, count = line.balance, count + 1
        say(_row(line))
    say(f"{count} entries, opening balance {format_money(opening)}, closing balance {format_money(closing)}")


def _row(line: Line) -> str:
    return _ROW.format(
        line.occurred_at,
        line.version,
        line.event_type,
        _amount(line),
        *map(format_money, (line.balance, line.held, line.available)),
        line.counterparty_wallet_id or "",
        line.hold_id or "",
        printable(line.reference or ""),
    ).rstrip()


def _amount(line: Line) -> str:
    """What the line added or took away, with its sign; what it only reserved or gave free says so."""
    if line.reserved is not None:
        return f"{format_money(abs(line.reserved))} {'reserved' if line.reserved > 0 else 'released'}"
    return f"{line.amount:+.4f}" if line.amount is not None else ""


async def _print_csv(lines: AsyncIterator[Line]) -> None:
    writer = csv.DictWriter(_Rows(), CSV_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    async for line in lines:
        fields = _as_json(line)
        reference = _no_formula(line.reference)
        # A file has it as it is; a terminal would act upon it.
        shown = printable(reference) if reference is not None and sys.stdout.isatty() else reference
        writer.writerow(fields | {"reference": shown})


class _Rows:
    """Takes rows that end with CR LF and prints them with LF: before 3.11.9 Python quotes its own line end alone."""

    def write(self, row: str) -> None:
        """Print one row."""
        sys.stdout.write(row.removesuffix("\r\n") + "\n")


def _no_formula(text: str | None) -> str | None:
    """The only text that a stranger wrote, so that a spreadsheet takes it for text, each line of it."""
    return None if text is None else _formula_begins.sub("'", text)


def _as_json(line: Line) -> dict[str, Any]:
    """A line under the names that its document has, with signed amounts."""
    return {
        "occurredAt": line.occurred_at,
        "version": line.version,
        "eventType": line.event_type,
        "amount": _money(line.amount),
        "reserved": _money(line.reserved),
        "balance": format_money(line.balance),
        "heldBalance": format_money(line.held),
        "availableBalance": format_money(line.available),
        "currency": line.currency,
        "counterpartyWalletId": line.counterparty_wallet_id,
        "holdId": line.hold_id,
        "reference": line.reference,
        "commandId": line.command_id,
    }


def _money(value: Decimal | None) -> str | None:
    return None if value is None else format_money(value)

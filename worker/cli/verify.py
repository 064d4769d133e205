"""`wallex verify`: compare Postgres, KurrentDB and Elasticsearch, and say what differs, wallet by wallet.

Changes nothing, and may run while workers do. On a terminal a bar shows how far it is.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Annotated, Any

import typer

from worker.audit.report import Difference, Report
from worker.audit.stores import open_stores
from worker.audit.verify import Progress, verify
from worker.cli.bars import show_bars
from worker.cli.output import fail, new_table, plain, print_json, print_table, quiet_clients
from worker.errors import WallexError
from worker.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("verify")(verify_stores)


def verify_stores(as_json: AsJson = False) -> None:
    """Compare all stores. Exit 1: something differs and still does after 10 s, or a store is away."""
    settings = Settings.load()
    quiet_clients(settings)
    try:
        with show_bars() as progress:
            report = asyncio.run(_verify(settings, progress))
    except WallexError as error:
        fail(f"cannot compare: {error}", 1)
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    if not report.is_clean:
        raise typer.Exit(1)


async def _verify(settings: Settings, progress: Progress) -> Report:
    async with open_stores(settings) as stores:
        return await verify(stores, progress)


def _print(report: Report) -> None:
    compared = f"{report.wallets:,} wallets, {report.events:,} events, {report.documents:,} documents"
    for wallet_id, differences in groupby(report.differences, key=lambda one: one.wallet_id):
        table = new_table(f"wallet {wallet_id}" if wallet_id else "all wallets", ("store", "what", "expected", "found"))
        for one in differences:
            table.add_row(*plain(one.store, one.what, one.expected, one.found))
        print_table(table)
    wallets = len({one.wallet_id for one in report.differences if one.wallet_id})
    outcome = "all stores agree" if report.is_clean else f"{len(report.differences)} differences in {wallets} wallets"
    typer.echo(f"{outcome} ({compared}, {report.seconds:.1f} s)")


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "clean": report.is_clean,
        "wallets": report.wallets,
        "events": report.events,
        "documents": report.documents,
        "seconds": round(report.seconds, 3),
        "differences": [_difference_as_json(one) for one in report.differences],
    }


def _difference_as_json(one: Difference) -> dict[str, Any]:
    return {
        "walletId": one.wallet_id,
        "store": one.store,
        "what": one.what,
        "expected": one.expected,
        "found": one.found,
    }

"""`wallex verify`: compare Postgres, KurrentDB and Elasticsearch, and say what differs, wallet by wallet.

Changes nothing unless it is asked to repair, and then only what lags. May run while workers do, either way. On a
terminal a bar shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any

import typer
from rich.text import Text

from worker.audit.repair import verify_and_repair
from worker.audit.report import Difference, NotRepaired, Repaired, Report
from worker.audit.stores import Stores, open_stores
from worker.audit.survey import Progress
from worker.audit.verify import verify
from worker.cli.bars import show_bars
from worker.cli.output import fail, new_table, plain, print_json, print_table, quiet_clients, say
from worker.errors import WallexError
from worker.settings import Settings

Repair = Annotated[
    bool, typer.Option("--repair", help="Make up what lags and is older than 60 s; touch nothing that contradicts.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object.")]

SEE_REPAIR = "see --repair"
LEFT = "why they were not repaired stands above; where it does not, they are younger than 60 s"


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("verify")(verify_stores)


def verify_stores(repair: Repair = False, as_json: AsJson = False) -> None:
    """Compare all stores. Exit 1: something differs and still does after 10 s, or a store is away."""
    settings = Settings.load()
    quiet_clients(settings)
    try:
        with show_bars() as progress:
            report = asyncio.run(_compare(settings, verify_and_repair if repair else verify, progress))
    except WallexError as error:
        fail(f"cannot compare: {error}", 1)
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    if not report.is_clean:
        raise typer.Exit(1)


async def _compare(
    settings: Settings, compare: Callable[[Stores, Progress], Awaitable[Report]], progress: Progress
) -> Report:
    async with open_stores(settings) as stores:
        return await compare(stores, progress)


def _print(report: Report) -> None:
    for wallet_id, repairs in groupby(report.repaired, key=attrgetter("wallet_id")):
        table = new_table(f"wallet {wallet_id}", ("store", "repaired"))
        for repaired in repairs:
            table.add_row(*plain(repaired.store, repaired.what))
        print_table(table)
    for wallet_id, left in groupby(report.not_repaired, key=attrgetter("wallet_id")):
        table = new_table(f"wallet {wallet_id}", ("store", "not repaired", "why"))
        for lacking in left:
            table.add_row(*plain(lacking.store, lacking.what, lacking.why))
        print_table(table)
    for wallet_id, differences in groupby(report.differences, key=attrgetter("wallet_id")):
        columns = ("store", "what", "expected", "found", "kind")
        table = new_table(f"wallet {wallet_id}" if wallet_id else "all wallets", columns)
        for one in differences:
            table.add_row(*difference_cells(one))
        print_table(table)
    say(_outcome(report))


def _outcome(report: Report) -> str:
    """The last line: whether the stores agree, and what can be done where they do not."""
    outcome = "all stores agree"
    if not report.is_clean:
        wallets = len({one.wallet_id for one in report.differences if one.wallet_id})
        outcome = f"{len(report.differences)} differences in {wallets} wallets"
        if lagging := len(report.differences) - len(report.contradictions):
            outcome += f", {lagging} of them only lag: {SEE_REPAIR if report.repairs is None else LEFT}"
    repaired = f"{len({one.wallet_id for one in report.repaired})} wallets repaired, " if report.repaired else ""
    compared = f"{report.wallets:,} wallets, {report.events:,} events, {report.documents:,} documents"
    return f"{repaired}{outcome} ({compared}, {report.seconds:.1f} s)"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "clean": report.is_clean,
        "wallets": report.wallets,
        "events": report.events,
        "documents": report.documents,
        "seconds": round(report.seconds, 3),
        "repaired": [_repaired_as_json(one) for one in report.repaired],
        "notRepaired": [_not_repaired_as_json(one) for one in report.not_repaired],
        "differences": [difference_as_json(one) for one in report.differences],
    }


def _repaired_as_json(one: Repaired) -> dict[str, Any]:
    return {"walletId": one.wallet_id, "store": one.store, "what": one.what}


def _not_repaired_as_json(one: NotRepaired) -> dict[str, Any]:
    return {"walletId": one.wallet_id, "store": one.store, "what": one.what, "why": one.why}


def difference_cells(one: Difference) -> list[Text]:
    """A difference as a row of a table."""
    return plain(one.store, one.what, one.expected, one.found, one.kind)


def difference_as_json(one: Difference) -> dict[str, Any]:
    """A difference for a script."""
    return {
        "walletId": one.wallet_id,
        "store": one.store,
        "what": one.what,
        "expected": one.expected,
        "found": one.found,
        "kind": one.kind,
    }

"""`wallex quarantine …`: the wallets whose stores contradict each other, what each store has, and the way back.

A quarantined wallet refuses commands (`WalletQuarantined`). What took effect before and is not in its stream waits as a
dead letter: `wallex dlq replay` answers it once the wallet is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from worker.audit.quarantine import release_wallet
from worker.audit.report import Difference
from worker.audit.stores import Stores, open_postgres, open_stores
from worker.audit.verify import DIFFERENCES_MAX, differences_of
from worker.cli.output import fail, new_table, plain, print_json, print_table, quiet_clients, say, show_time
from worker.cli.verify import difference_as_json, difference_cells
from worker.contracts.times import format_time
from worker.errors import WallexError
from worker.ledger.quarantine import Quarantined, list_quarantined
from worker.settings import Settings

WalletId = Annotated[UUID, typer.Argument(metavar="ID", help="The wallet's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object a line.")]

COLUMNS = ("store", "what", "expected", "found", "kind")
WAY_BACK = "the way back stands in docs/operating.md, A quarantined wallet"

commands = typer.Typer(help="List, show and release wallets whose stores contradict each other.")

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Hang the commands into `app`."""
    app.add_typer(commands, name="quarantine")


@commands.command("list")
def list_wallets(as_json: AsJson = False) -> None:
    """List the quarantined wallets, the oldest first."""
    with _settings() as settings:
        found = asyncio.run(_list(settings))
    if as_json:
        for one in found:
            print_json(_as_json(one))
        return
    table = new_table(f"{len(found)} quarantined", ("wallet", "since", "version", "why"), right=("version",))
    for one in found:
        table.add_row(*plain(one.wallet_id, show_time(one.since), one.version, one.reason))
    print_table(table)


@commands.command()
def show(wallet_id: WalletId, as_json: AsJson = False) -> None:
    """Show where the stores differ, event by event from the first difference on. Exit 1: they differ."""
    with _settings() as settings:
        found = asyncio.run(_list(settings))
        differences = asyncio.run(_with_stores(settings, lambda stores: differences_of(stores, str(wallet_id))))
    quarantined = next((one for one in found if one.wallet_id == str(wallet_id)), None)
    if as_json:
        since = {"quarantined": None if quarantined is None else _as_json(quarantined)}
        print_json({**since, "differences": [difference_as_json(one) for one in differences]})
    else:
        _print(str(wallet_id), quarantined, differences)
    if differences:
        raise typer.Exit(1)


@commands.command("release")
def release_one(wallet_id: WalletId) -> None:
    """Let a wallet take commands again, if its stream no longer contradicts its ledger. Exit 1: it does."""
    with _settings() as settings:
        released = asyncio.run(_with_stores(settings, lambda stores: release_wallet(stores, str(wallet_id))))
    if not released.was_quarantined:
        fail(f"the wallet {wallet_id} is not quarantined", 1)
    if released.in_the_way:
        _print_differences(str(wallet_id), released.in_the_way[:DIFFERENCES_MAX])
        fail(f"not released: its stores contradict; {WAY_BACK}", 1)
    say(f"released: {wallet_id} takes commands again; `wallex dlq replay` answers those that wait for it")


def _print(wallet_id: str, quarantined: Quarantined | None, differences: Sequence[Difference]) -> None:
    if quarantined is None:
        say(f"the wallet {wallet_id} is not quarantined")
    else:
        say(f"quarantined since {show_time(quarantined.since)}: {quarantined.reason}")
    if differences:
        _print_differences(wallet_id, differences)
        say(WAY_BACK)
    else:
        say("all stores agree" + ("" if quarantined is None else f": `wallex quarantine release {wallet_id}`"))


def _print_differences(wallet_id: str, differences: Sequence[Difference]) -> None:
    table = new_table(f"wallet {wallet_id}, stream wallet-{wallet_id}", COLUMNS)
    for one in differences:
        table.add_row(*difference_cells(one))
    print_table(table)


def _as_json(one: Quarantined) -> dict[str, Any]:
    return {
        "walletId": one.wallet_id,
        "since": format_time(one.since),
        "version": one.version,
        "reason": one.reason,
    }


async def _list(settings: Settings) -> list[Quarantined]:
    async with open_postgres(settings) as engine:
        return await list_quarantined(engine)


async def _with_stores(settings: Settings, work: Callable[[Stores], Awaitable[T]]) -> T:
    async with open_stores(settings) as stores:
        return await work(stores)


@contextmanager
def _settings() -> Iterator[Settings]:
    settings = Settings.load()
    quiet_clients(settings)
    try:
        yield settings
    except WallexError as error:
        fail(f"cannot look: {error}", 1)

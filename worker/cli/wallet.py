"""`wallex wallet ID`: what every store knows of a wallet, side by side, and its last entries.

With `--at` or `--version` the wallet as it was then, from the ledger in Postgres alone.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.audit.history import Moment, NotThere, see_past
from worker.audit.see_wallet import State, WalletSight, see_wallet
from worker.audit.sight import Away, Unreadable
from worker.cli import EXIT_USAGE
from worker.cli.entries import entry_as_json, print_entries
from worker.cli.output import fail, new_table, plain, print_json, print_table, quiet_clients, say
from worker.cli.past import past_as_json, print_past
from worker.cli.times import read_time
from worker.cli.wallet_state import wallet_as_json, wallet_fields
from worker.domain.wallet import Wallet
from worker.errors import WallexError
from worker.settings import Settings

ABSENT, DIFFERS = "none", "≠"
VERSION_MAX = 2**63 - 1

Id = Annotated[UUID, typer.Argument(help="The wallet's id.")]
At = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        parser=read_time,
        metavar="TIME",
        help="As it was at this time: 2026-11-22T12:00:00Z, or a date for its beginning in UTC.",
        show_default=False,
    ),
]
Version = Annotated[
    int | None, typer.Option("--version", min=0, max=VERSION_MAX, help="As it was at this version.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("wallet")(wallet)


def wallet(id_: Id, at: At = None, version: Version = None, as_json: AsJson = False) -> None:
    """Show what every store knows of a wallet, or what it was. Exit 1: none has it, or they differ; or not then."""
    settings = Settings.load()
    quiet_clients(settings)
    if at is not None and version is not None:
        fail("--at and --version both say when, expected one of them", EXIT_USAGE)
    moment = at if version is None else version
    if moment is None:
        _show_present(settings, str(id_), as_json=as_json)
    else:
        _show_past(settings, str(id_), moment, as_json=as_json)


def _show_past(settings: Settings, wallet_id: str, moment: Moment, *, as_json: bool) -> None:
    try:
        past = asyncio.run(see_past(settings, wallet_id, moment))
    except WallexError as error:
        fail(f"cannot look: {error}", 1)
    if isinstance(past, NotThere):
        fail(past.reason, 1)
    if as_json:
        print_json(past_as_json(past))
    else:
        print_past(moment, past)


def _show_present(settings: Settings, wallet_id: str, *, as_json: bool) -> None:
    sight = asyncio.run(see_wallet(settings, wallet_id))
    if as_json:
        print_json(_as_json(sight))
    else:
        _print(wallet_id, sight)
    if not any(isinstance(state, Wallet) for state in sight.states.values()):
        fail(f"no store that answers has a wallet {wallet_id}", 1)
    if not sight.agrees:
        fail(f"the stores differ on wallet {wallet_id}; what is in flight arrives within seconds", 1)


def _print(wallet_id: str, sight: WalletSight) -> None:
    table = new_table(f"wallet {wallet_id}", ("", "", *sight.states))
    fields = {store: _fields(state) for store, state in sight.states.items()}
    for name in next((found for found in fields.values() if found), ()):
        values = [found[name] if found else _instead(sight.states[store]) for store, found in fields.items()]
        compared = {found[name] for found in fields.values() if found}
        table.add_row(*plain(DIFFERS if len(compared) > 1 else "", name, *values))
    if table.row_count:
        print_table(table)
    for store, state in sight.states.items():
        if isinstance(state, (Away, Unreadable)):
            say(f"{store} {_instead(state)}: {state.reason.removeprefix(f'{store}: ')}")
    if sight.entries:
        print_entries("last entries in the ledger", sight.entries)


def _fields(state: State) -> dict[str, str]:
    return wallet_fields(state) if isinstance(state, Wallet) else {}


def _instead(state: State) -> str:
    """What stands for the fields of a wallet that a store does not show."""
    return ABSENT if state is None else type(state).__name__.lower()


def _as_json(sight: WalletSight) -> dict[str, Any]:
    return {
        "agrees": sight.agrees,
        "stores": {store.value: _state_as_json(state) for store, state in sight.states.items()},
        "entries": [entry_as_json(entry) for entry in sight.entries],
    }


def _state_as_json(state: State) -> dict[str, Any] | None:
    if state is None:
        return None
    if not isinstance(state, Wallet):
        return {type(state).__name__.lower(): state.reason}
    return wallet_as_json(state)

"""`wallex wallet ID`: what every store knows of a wallet, side by side, and its last entries."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer

from worker.audit.see_wallet import State, WalletSight, see_wallet
from worker.audit.sight import Away, Unreadable
from worker.cli.entries import entry_as_json, print_entries
from worker.cli.output import fail, new_table, plain, print_json, print_table, quiet_clients, show_time
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.domain.wallet import Wallet
from worker.settings import Settings

ABSENT, DIFFERS = "none", "≠"

Id = Annotated[UUID, typer.Argument(help="The wallet's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("wallet")(wallet)


def wallet(id_: Id, as_json: AsJson = False) -> None:
    """Show what every store knows of a wallet. Exit 1: none has it, or they differ."""
    settings = Settings.load()
    quiet_clients(settings)
    sight = asyncio.run(see_wallet(settings, str(id_)))
    if as_json:
        print_json(_as_json(sight))
    else:
        _print(str(id_), sight)
    if not any(isinstance(state, Wallet) for state in sight.states.values()):
        fail(f"no store that answers has a wallet {id_}", 1)
    if not sight.agrees:
        fail(f"the stores differ on wallet {id_}; what is in flight arrives within seconds", 1)


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
            typer.echo(f"{store} {_instead(state)}: {state.reason.removeprefix(f'{store}: ')}")
    if sight.entries:
        print_entries("last entries in the ledger", sight.entries)


def _fields(state: State) -> dict[str, str]:
    if not isinstance(state, Wallet):
        return {}
    return {
        "version": str(state.version),
        "owner": state.owner_id,
        "status": state.status,
        "currency": state.currency,
        # All balances are equally wide, so that they are aligned under one another.
        **{name: f"{format_money(value):>20}" for name, value in _balances(state).items()},
        "metadata": state.metadata,
        "created": show_time(state.created_at),
        "updated": show_time(state.updated_at),
    }


def _balances(state: Wallet) -> dict[str, Any]:
    return {"balance": state.balance, "held": state.held_balance, "available": state.available_balance}


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
    return {
        "walletId": state.id,
        "version": state.version,
        "ownerId": state.owner_id,
        "currency": state.currency,
        "status": state.status,
        "balance": format_money(state.balance),
        "heldBalance": format_money(state.held_balance),
        "availableBalance": format_money(state.available_balance),
        "metadata": orjson.Fragment(state.metadata),
        "createdAt": format_time(state.created_at),
        "updatedAt": format_time(state.updated_at),
    }

"""A wallet as it was, as a table and for a script: its state, the holds that were active, the entry that made it so."""

from __future__ import annotations

from typing import Any

from worker.audit.history import Moment, Past
from worker.cli.entries import entry_as_json, print_entries
from worker.cli.output import new_table, plain, print_table, show_time
from worker.cli.wallet_state import wallet_as_json, wallet_fields
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.domain.wallet import Hold

_HOLD_COLUMNS = ("hold", "type", "amount", "reference", "expires (UTC)", "placed (UTC)")


def print_past(moment: Moment, past: Past) -> None:
    """Show the wallet as it was at `moment`."""
    when = f"version {moment}" if isinstance(moment, int) else show_time(moment)
    table = new_table(f"wallet {past.wallet.id} at {when}", ("", "then"))
    for name, value in wallet_fields(past.wallet).items():
        table.add_row(*plain(name, value))
    print_table(table)
    if past.holds:
        holds = new_table("holds that were active", _HOLD_COLUMNS, ("amount",))
        for hold in past.holds:
            times = show_time(hold.expires_at), show_time(hold.created_at)
            holds.add_row(*plain(hold.id, hold.type, format_money(hold.amount), hold.reference, *times))
        print_table(holds)
    print_entries("the entry that made it so", [past.entry])


def past_as_json(past: Past) -> dict[str, Any]:
    """The same for a script."""
    return {
        "wallet": wallet_as_json(past.wallet),
        "holds": [_hold_as_json(hold) for hold in past.holds],
        "entry": entry_as_json(past.entry),
    }


def _hold_as_json(hold: Hold) -> dict[str, Any]:
    return {
        "holdId": hold.id,
        "status": hold.status,
        "type": hold.type,
        "amount": format_money(hold.amount),
        "reference": hold.reference,
        "expiresAt": hold.expires_at and format_time(hold.expires_at),
        "createdAt": format_time(hold.created_at),
    }

"""The ledger's entries, as a table and for a script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.cli.output import new_table, plain, print_table, show_time
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.ledger.entry import Entry

_COLUMNS = ("version", "time (UTC)", "event", "amount", "balance", "held", "other wallet", "command")
_RIGHT = ("version", "amount", "balance", "held")


def print_entries(title: str, entries: Iterable[Entry]) -> None:
    """Show entries of one wallet, in the order given."""
    table = new_table(title, _COLUMNS, _RIGHT)
    for entry in entries:
        money = [format_money(value) if value is not None else "" for value in entry[5:8]]
        who = (entry.counterparty_wallet_id, entry.command_id)
        table.add_row(*plain(entry.version, show_time(entry.occurred_at), entry.event_type, *money, *who))
    print_table(table)


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """An entry under the names that its event has."""
    return {
        "walletId": entry.wallet_id,
        "version": entry.version,
        "eventId": entry.event_id,
        "eventType": entry.event_type,
        "commandId": entry.command_id,
        "amount": format_money(entry.amount) if entry.amount is not None else None,
        "balance": format_money(entry.balance),
        "heldBalance": format_money(entry.held_balance),
        "counterpartyWalletId": entry.counterparty_wallet_id,
        "reference": entry.reference,
        "occurredAt": format_time(entry.occurred_at),
    }

"""One state of a wallet, as lines of a table and for a script."""

from __future__ import annotations

from typing import Any

import orjson

from worker.cli.output import show_time
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.domain.wallet import Wallet


def wallet_fields(wallet: Wallet) -> dict[str, str]:
    """What to show of `wallet`, in order."""
    balances = {"balance": wallet.balance, "held": wallet.held_balance, "available": wallet.available_balance}
    return {
        "version": str(wallet.version),
        "owner": wallet.owner_id,
        "status": wallet.status,
        "currency": wallet.currency,
        # All balances are equally wide, so that they are aligned under one another.
        **{name: f"{format_money(value):>20}" for name, value in balances.items()},
        "metadata": wallet.metadata,
        "created": show_time(wallet.created_at),
        "updated": show_time(wallet.updated_at),
    }


def wallet_as_json(wallet: Wallet) -> dict[str, Any]:
    """`wallet` under the names that its events have."""
    return {
        "walletId": wallet.id,
        "version": wallet.version,
        "ownerId": wallet.owner_id,
        "currency": wallet.currency,
        "status": wallet.status,
        "balance": format_money(wallet.balance),
        "heldBalance": format_money(wallet.held_balance),
        "availableBalance": format_money(wallet.available_balance),
        "metadata": orjson.Fragment(wallet.metadata),
        "createdAt": format_time(wallet.created_at),
        "updatedAt": format_time(wallet.updated_at),
    }

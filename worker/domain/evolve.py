"""The fold: a wallet and a fact make the next wallet. The only place where a balance changes.

Pure and total: whether a fact may happen was decided before (`decide`), so nothing is refused here.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import assert_never

from worker.contracts.money import ZERO
from worker.contracts.status import WalletStatus
from worker.domain.facts import Fact, WalletCreated, WalletCredited, WalletDebited
from worker.domain.wallet import Wallet


def evolve(wallet: Wallet | None, fact: Fact, now: datetime) -> Wallet:
    """The wallet after `fact`. `wallet` is None exactly for `WalletCreated`.

    Time never runs backwards in a stream: where the database's clock did, the last event's time stands (contract,
    "Commands", last rule).
    """
    match fact:
        case WalletCredited():
            return _with_balance(_there(wallet), fact.amount, now)
        case WalletDebited():
            return _with_balance(_there(wallet), -fact.amount, now)
        case WalletCreated():
            return Wallet(
                id=fact.wallet_id,
                owner_id=fact.owner_id,
                currency=fact.currency,
                status=WalletStatus.ACTIVE,
                balance=fact.initial_balance,
                held_balance=ZERO,
                version=0,
                metadata=fact.metadata,
                created_at=now,
                updated_at=now,
            )
        case _:
            assert_never(fact)


def _there(wallet: Wallet | None) -> Wallet:
    if wallet is None:
        raise ValueError("only WalletCreated can happen to a wallet that is not there")
    return wallet


def _with_balance(wallet: Wallet, change: Decimal, now: datetime) -> Wallet:
    return Wallet(
        wallet.id,
        wallet.owner_id,
        wallet.currency,
        wallet.status,
        wallet.balance + change,
        wallet.held_balance,
        wallet.version + 1,
        wallet.metadata,
        wallet.created_at,
        now if now > wallet.updated_at else wallet.updated_at,
    )

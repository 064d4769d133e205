"""The fold: a wallet and a fact make the next wallet, a hold and a fact the next hold.

The only place where a balance changes. Pure and total: whether a fact may happen was decided before (`decide`), so
nothing is refused here.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import assert_never

from worker.contracts.money import ZERO
from worker.contracts.status import HoldStatus, WalletStatus
from worker.domain import facts
from worker.domain.facts import Fact, HoldFact
from worker.domain.wallet import Hold, Wallet


def evolve(wallet: Wallet | None, fact: Fact, now: datetime) -> Wallet:
    """The wallet after `fact`. `wallet` is None exactly for `WalletCreated`.

    Time never runs backwards in a stream: where the database's clock did, the last event's time stands (contract,
    "Commands", last rule).
    """
    if isinstance(fact, facts.WalletCreated):
        return _created(fact, now)
    if wallet is None:
        raise ValueError("only WalletCreated can happen to a wallet that is not there")
    match fact:
        case facts.WalletCredited():
            return _changed(wallet, now, balance=fact.amount)
        case facts.WalletDebited():
            return _changed(wallet, now, balance=-fact.amount)
        case facts.HoldPlaced():
            return _changed(wallet, now, held=fact.amount)
        case facts.HoldReleased() | facts.HoldExpired():
            return _changed(wallet, now, held=-fact.amount)
        case facts.HoldCaptured():
            return _changed(wallet, now, balance=-fact.amount, held=-fact.amount - fact.released)
        case facts.WalletSuspended():
            return _changed(wallet, now)._replace(status=WalletStatus.SUSPENDED)
        case facts.WalletReactivated():
            return _changed(wallet, now)._replace(status=WalletStatus.ACTIVE)
        case facts.WalletClosed():
            return _changed(wallet, now)._replace(status=WalletStatus.CLOSED)
        case facts.WalletMetadataUpdated():
            return _changed(wallet, now)._replace(metadata=fact.metadata)
        case _:
            assert_never(fact)


def evolve_hold(hold: Hold | None, fact: HoldFact, now: datetime) -> Hold:
    """The hold after `fact`, which happened at `now`. `hold` is None exactly for `HoldPlaced`."""
    if isinstance(fact, facts.HoldPlaced):
        return _placed(fact, now)
    if hold is None:
        raise ValueError("only HoldPlaced can happen to a hold that is not there")
    match fact:
        case facts.HoldReleased():
            return hold._replace(status=HoldStatus.RELEASED, released_at=now, updated_at=now)
        case facts.HoldExpired():
            return hold._replace(status=HoldStatus.EXPIRED, updated_at=now)
        case facts.HoldCaptured():
            return hold._replace(
                status=HoldStatus.CAPTURED, captured_amount=fact.amount, captured_at=now, updated_at=now
            )
        case _:
            assert_never(fact)


def _created(fact: facts.WalletCreated, now: datetime) -> Wallet:
    return Wallet(
        id=fact.wallet_id,
        owner_id=fact.owner_id,
        currency=fact.currency,
        status=WalletStatus.ACTIVE,
        balance=fact.amount,
        held_balance=ZERO,
        version=0,
        metadata=fact.metadata,
        created_at=now,
        updated_at=now,
    )


def _changed(wallet: Wallet, now: datetime, *, balance: Decimal = ZERO, held: Decimal = ZERO) -> Wallet:
    return Wallet(
        wallet.id,
        wallet.owner_id,
        wallet.currency,
        wallet.status,
        wallet.balance + balance,
        wallet.held_balance + held,
        wallet.version + 1,
        wallet.metadata,
        wallet.created_at,
        max(now, wallet.updated_at),
    )


def _placed(fact: facts.HoldPlaced, now: datetime) -> Hold:
    return Hold(
        id=fact.hold_id,
        wallet_id=fact.wallet_id,
        amount=fact.amount,
        captured_amount=ZERO,
        status=HoldStatus.ACTIVE,
        type=fact.hold_type,
        reference=fact.reference,
        metadata=fact.metadata,
        expires_at=fact.expires_at,
        released_at=None,
        captured_at=None,
        created_at=now,
        updated_at=now,
    )

"""The checks that decisions are made of: each gives the rejection, or None where all is well.

A decision chains them with `or` in the contract's order of refusal, so that the first reason wins.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from worker.contracts.commands import VersionedPart
from worker.contracts.money import BALANCE_MAX
from worker.contracts.status import HoldStatus, WalletStatus
from worker.domain import rejections as no
from worker.domain.rejections import Rejected
from worker.domain.wallet import Hold, Wallet


def at_other_version(part: VersionedPart, wallet: Wallet) -> Rejected | None:
    """The wallet is not where the sender insists that it be."""
    expected = part.expected_version
    return no.event_concurrency(wallet, expected) if expected is not None and expected != wallet.version else None


def closed(wallet: Wallet) -> Rejected | None:
    """The wallet takes nothing any more."""
    return no.wallet_not_active(wallet) if wallet.status is WalletStatus.CLOSED else None


def not_active(wallet: Wallet) -> Rejected | None:
    """The wallet lets no money out."""
    return no.wallet_not_active(wallet) if wallet.status is not WalletStatus.ACTIVE else None


def other_currency(currency: str | None, wallet: Wallet) -> Rejected | None:
    """The command speaks of another currency; None stands for the wallet's own."""
    if currency is None or currency == wallet.currency:
        return None
    return no.currency_mismatch(wallet, currency)


def short(wallet: Wallet, amount: Decimal) -> Rejected | None:
    """The wallet has less available than `amount`."""
    return no.insufficient_funds(wallet, amount) if wallet.available_balance < amount else None


def over_the_limit(wallet: Wallet, amount: Decimal) -> Rejected | None:
    """The balance with `amount` would not fit every store."""
    return no.balance_limit_exceeded(wallet, amount) if wallet.balance + amount > BALANCE_MAX else None


def ended(hold: Hold) -> Rejected | None:
    """The hold reserves nothing any more."""
    return None if hold.status is HoldStatus.ACTIVE else no.hold_not_active(hold)


def spent(hold: Hold, now: datetime) -> Rejected | None:
    """The hold reserves nothing any more; one that expired is told from "any other ended hold" (contract)."""
    if hold.status is HoldStatus.EXPIRED:
        return no.hold_expired(hold.wallet_id, hold.id, hold.expires_at, now)
    return ended(hold)


def over(expires_at: datetime | None, now: datetime) -> bool:
    """Whether the time of a hold is over. At that very instant it is not."""
    return expires_at is not None and now > expires_at


def not_due(hold: Hold, now: datetime) -> Rejected | None:
    """The hold may not expire yet, or never. At the very instant it may."""
    return no.hold_not_due(hold, now) if hold.expires_at is None or now < hold.expires_at else None

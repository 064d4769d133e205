"""Decide what reserves money and what becomes of it: place, release, capture, expire."""

from __future__ import annotations

from datetime import datetime

import orjson

from worker.contracts.commands import CaptureHoldPart, ExpireHoldPart, PlaceHoldPart, ReleaseHoldPart
from worker.domain import rejections as no
from worker.domain.checks import (
    at_other_version,
    closed,
    ended,
    not_active,
    not_due,
    other_currency,
    over,
    over_the_limit,
    short,
    spent,
)
from worker.domain.decide_money import Decision
from worker.domain.facts import HoldCaptured, HoldExpired, HoldPlaced, HoldReleased, WalletCredited
from worker.domain.rejections import Rejected
from worker.domain.wallet import Book, Hold, Wallet


def place_hold(part: PlaceHoldPart, book: Book, now: datetime) -> Decision:
    """Reserve what is available, under an id that no wallet has used."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    metadata = None if part.metadata is None else orjson.dumps(part.metadata).decode()
    return (
        at_other_version(part, wallet)
        or not_active(wallet)
        or (no.hold_already_exists(wallet.id, part.hold_id) if part.hold_id in book.holds else None)
        or (no.hold_expired(wallet.id, part.hold_id, part.expires_at, now) if over(part.expires_at, now) else None)
        or short(wallet, part.amount)
        or (
            HoldPlaced(wallet.id, part.hold_id, part.amount, part.hold_type, part.reference, metadata, part.expires_at),
        )
    )


def release_hold(part: ReleaseHoldPart, book: Book, now: datetime) -> Decision:
    """Give an active hold free, its time over or not; a suspended wallet does so too."""
    hold = _hold_to_free(part, book)
    if isinstance(hold, Rejected):
        return hold
    return spent(hold, now) or (HoldReleased(hold.wallet_id, hold.id, hold.amount),)


def capture_hold(part: CaptureHoldPart, book: Book, now: datetime) -> Decision:
    """Pay out what a hold reserves, or a part of it, and give the rest free."""
    if part.to_wallet_id == part.wallet_id:
        return no.same_wallet(part.wallet_id)
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    target = None if part.to_wallet_id is None else book.wallets.get(part.to_wallet_id)
    if part.to_wallet_id is not None and target is None:
        return no.wallet_not_found(part.to_wallet_id)
    refused = (
        at_other_version(part, wallet)
        or not_active(wallet)
        or (closed(target) if target is not None else None)
        or (other_currency(wallet.currency, target) if target is not None else None)
    )
    if refused is not None:
        return refused
    hold = _hold_of(wallet, part.hold_id, book)
    return hold if isinstance(hold, Rejected) else _capture(part, hold, target, now)


def expire_hold(part: ExpireHoldPart, book: Book, now: datetime) -> Decision:
    """End an active hold whose time is over; a suspended wallet does so too."""
    hold = _hold_to_free(part, book)
    if isinstance(hold, Rejected):
        return hold
    return ended(hold) or not_due(hold, now) or (HoldExpired(hold.wallet_id, hold.id, hold.amount),)


def _hold_to_free(part: ReleaseHoldPart | ExpireHoldPart, book: Book) -> Hold | Rejected:
    """The hold whose money is to be available again, of a wallet that is not closed."""
    wallet = book.wallets.get(part.wallet_id)
    if wallet is None:
        return no.wallet_not_found(part.wallet_id)
    return at_other_version(part, wallet) or closed(wallet) or _hold_of(wallet, part.hold_id, book)


def _capture(part: CaptureHoldPart, hold: Hold, target: Wallet | None, now: datetime) -> Decision:
    amount = hold.amount if part.amount is None else part.amount
    refused = (
        spent(hold, now)
        or (no.hold_expired(hold.wallet_id, hold.id, hold.expires_at, now) if over(hold.expires_at, now) else None)
        or (no.capture_exceeds_hold(hold, amount) if amount > hold.amount else None)
        or (over_the_limit(target, amount) if target is not None else None)
    )
    if refused is not None:
        return refused
    captured = HoldCaptured(hold.wallet_id, hold.id, amount, hold.amount - amount, target and target.id)
    if target is None:
        return (captured,)
    return captured, WalletCredited(target.id, amount, hold.wallet_id)


def _hold_of(wallet: Wallet, hold_id: str, book: Book) -> Hold | Rejected:
    """The hold, if it is this wallet's: a hold of another wallet is not found (contract, "Commands")."""
    hold = book.holds.get(hold_id)
    return no.hold_not_found(wallet.id, hold_id) if hold is None or hold.wallet_id != wallet.id else hold

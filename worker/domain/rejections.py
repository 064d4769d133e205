"""The "no" for a business reason: a value with a code and enough detail to act on, stored and replied.

One function for each reason, so that its details have the same shape wherever it is decided. Details hold text and
integers only: they are part of a reply that is repeated byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from worker.contracts.money import BALANCE_MAX, format_money
from worker.contracts.replies import ErrorCode
from worker.contracts.times import format_time
from worker.domain.wallet import Hold, Wallet


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a command did not take effect."""

    code: ErrorCode
    message: str
    details: Mapping[str, str | int]


def idempotency_conflict(command_id: str) -> Rejected:
    """The command id was used before, for another command."""
    message = "This commandId was used with another payload. A new command needs an id of its own."
    return Rejected(ErrorCode.IDEMPOTENCY_CONFLICT, message, {"commandId": command_id})


def command_expired(not_after: datetime, now: datetime) -> Rejected:
    """Decided later than its sender allowed."""
    details = {"notAfter": format_time(not_after), "now": format_time(now)}
    return Rejected(ErrorCode.COMMAND_EXPIRED, "The command was decided after its notAfter.", details)


def same_wallet(wallet_id: str) -> Rejected:
    """A transfer or a capture from a wallet to itself."""
    return Rejected(ErrorCode.SAME_WALLET, "Money moves between two different wallets.", {"walletId": wallet_id})


def wallet_not_found(wallet_id: str) -> Rejected:
    """No such wallet."""
    return Rejected(ErrorCode.WALLET_NOT_FOUND, "There is no such wallet.", {"walletId": wallet_id})


def wallet_already_exists(wallet_id: str) -> Rejected:
    """The wallet id is taken."""
    message = "There is a wallet with this id already."
    return Rejected(ErrorCode.WALLET_ALREADY_EXISTS, message, {"walletId": wallet_id})


def wallet_quarantined(wallet_id: str, since: datetime) -> Rejected:
    """The wallet's stores contradict each other, and an operator has to look."""
    message = (
        "The wallet takes no commands until an operator has looked at it. The same command may be sent again then."
    )
    return Rejected(ErrorCode.WALLET_QUARANTINED, message, {"walletId": wallet_id, "since": format_time(since)})


def not_appended(wallet_id: str) -> Rejected:
    """The command took effect in Postgres, and its events cannot be appended: the reason of a dead letter, no reply."""
    message = "It took effect in Postgres and waits for KurrentDB: replay it once the wallet is released, not before."
    return Rejected(ErrorCode.WALLET_QUARANTINED, message, {"walletId": wallet_id})


def event_concurrency(wallet: Wallet, expected: int) -> Rejected:
    """The wallet is not at the version that the sender insisted on."""
    details: dict[str, str | int] = {"walletId": wallet.id, "expected": expected, "actual": wallet.version}
    return Rejected(ErrorCode.EVENT_CONCURRENCY, "The wallet is at another version.", details)


def wallet_not_active(wallet: Wallet) -> Rejected:
    """The wallet's status does not allow this."""
    message = f"The wallet is {wallet.status.lower()}."
    return Rejected(ErrorCode.WALLET_NOT_ACTIVE, message, {"walletId": wallet.id, "status": wallet.status.value})


def currency_mismatch(wallet: Wallet, currency: str) -> Rejected:
    """The command speaks of another currency than the wallet's."""
    details = {"walletId": wallet.id, "expected": wallet.currency, "actual": currency}
    return Rejected(ErrorCode.CURRENCY_MISMATCH, f"The wallet's currency is {wallet.currency}.", details)


def insufficient_funds(wallet: Wallet, requested: Decimal) -> Rejected:
    """More was asked than is available."""
    details = {
        "walletId": wallet.id,
        "available": format_money(wallet.available_balance),
        "held": format_money(wallet.held_balance),
        "requested": format_money(requested),
    }
    return Rejected(ErrorCode.INSUFFICIENT_FUNDS, "The available balance is less than the amount.", details)


def balance_limit_exceeded(wallet: Wallet, amount: Decimal) -> Rejected:
    """The balance would not fit a 64-bit integer of ten-thousandths any more."""
    details = {
        "walletId": wallet.id,
        "balance": format_money(wallet.balance),
        "requested": format_money(amount),
        "limit": format_money(BALANCE_MAX),
    }
    return Rejected(ErrorCode.BALANCE_LIMIT_EXCEEDED, "The balance would pass the limit of a wallet.", details)


def wallet_not_empty(wallet: Wallet) -> Rejected:
    """Only an empty wallet can be closed."""
    details = {
        "walletId": wallet.id,
        "balance": format_money(wallet.balance),
        "held": format_money(wallet.held_balance),
    }
    return Rejected(ErrorCode.WALLET_NOT_EMPTY, "Only a wallet without money and active holds can be closed.", details)


def metadata_too_large(wallet: Wallet, size: int, limit: int) -> Rejected:
    """The wallet's metadata would pass its limit after merging."""
    details: dict[str, str | int] = {"walletId": wallet.id, "bytes": size, "limit": limit}
    return Rejected(ErrorCode.METADATA_TOO_LARGE, "The wallet's metadata would be too large after merging.", details)


def hold_not_found(wallet_id: str, hold_id: str) -> Rejected:
    """The wallet has no such hold."""
    details = {"walletId": wallet_id, "holdId": hold_id}
    return Rejected(ErrorCode.HOLD_NOT_FOUND, "The wallet has no such hold.", details)


def hold_already_exists(wallet_id: str, hold_id: str) -> Rejected:
    """The hold id was used before, in this wallet or another: which one is not told."""
    message = "This holdId was used before. A new hold needs an id of its own."
    return Rejected(ErrorCode.HOLD_ALREADY_EXISTS, message, {"walletId": wallet_id, "holdId": hold_id})


def hold_not_active(hold: Hold) -> Rejected:
    """The hold ended before."""
    details = {"walletId": hold.wallet_id, "holdId": hold.id, "status": hold.status.value}
    return Rejected(ErrorCode.HOLD_NOT_ACTIVE, f"The hold is {hold.status.lower()}.", details)


def hold_expired(wallet_id: str, hold_id: str, expires_at: datetime | None, now: datetime) -> Rejected:
    """The time of the hold is over."""
    details = {"walletId": wallet_id, "holdId": hold_id, "now": format_time(now)}
    if expires_at is not None:
        details["expiresAt"] = format_time(expires_at)
    return Rejected(ErrorCode.HOLD_EXPIRED, "The time of the hold is over.", details)


def hold_not_due(hold: Hold, now: datetime) -> Rejected:
    """The hold may not expire yet, or never."""
    details = {"walletId": hold.wallet_id, "holdId": hold.id, "now": format_time(now)}
    if hold.expires_at is not None:
        details["expiresAt"] = format_time(hold.expires_at)
    return Rejected(ErrorCode.HOLD_NOT_DUE, "The time of the hold is not over.", details)


def capture_exceeds_hold(hold: Hold, amount: Decimal) -> Rejected:
    """More was to be captured than is reserved."""
    details = {
        "walletId": hold.wallet_id,
        "holdId": hold.id,
        "held": format_money(hold.amount),
        "requested": format_money(amount),
    }
    return Rejected(ErrorCode.CAPTURE_EXCEEDS_HOLD, "The hold reserves less than the amount.", details)


def in_part(rejected: Rejected, index: int) -> Rejected:
    """The rejection of a group: that of its part number `index`, from 0."""
    return Rejected(rejected.code, rejected.message, {**rejected.details, "index": index})

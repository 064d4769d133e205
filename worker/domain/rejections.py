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
from worker.domain.wallet import Wallet


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
    """A transfer from a wallet to itself."""
    return Rejected(ErrorCode.SAME_WALLET, "A transfer needs two different wallets.", {"walletId": wallet_id})


def wallet_not_found(wallet_id: str) -> Rejected:
    """No such wallet."""
    return Rejected(ErrorCode.WALLET_NOT_FOUND, "There is no such wallet.", {"walletId": wallet_id})


def wallet_already_exists(wallet_id: str) -> Rejected:
    """The wallet id is taken."""
    message = "There is a wallet with this id already."
    return Rejected(ErrorCode.WALLET_ALREADY_EXISTS, message, {"walletId": wallet_id})


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

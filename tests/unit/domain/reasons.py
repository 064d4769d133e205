"""What has a command refused: one change to its scene for each reason, in the contract's order of refusal.

Two changes together must give the refusal of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from tests.unit.domain.scenes import EARLIER, HOLD, JUST_AFTER, JUST_BEFORE, SOURCE, TARGET, Scene, hold, wallet
from worker.contracts.money import BALANCE_MAX, ZERO
from worker.contracts.status import HoldStatus, WalletStatus

NOW_TEXT = "2026-11-22T12:00:00.000000Z"
JUST_BEFORE_TEXT = "2026-11-22T11:59:59.999999Z"
JUST_AFTER_TEXT = "2026-11-22T12:00:00.000001Z"


@dataclass(frozen=True)
class Reason:
    """A reason for a refusal: its code, its details, and the change that brings it about."""

    name: str
    code: str
    details: Mapping[str, str | int]
    apply: Callable[[Scene], object]


def _set(**fields: Any) -> Callable[[Scene], object]:
    return lambda scene: scene.fields.update(fields)


def _change(wallet_id: str, **changes: Any) -> Callable[[Scene], object]:
    return lambda scene: scene.change(wallet_id, **changes)


def _change_hold(**changes: Any) -> Callable[[Scene], object]:
    return lambda scene: scene.change_hold(**changes)


def _status(name: str, wallet_id: str, status: WalletStatus) -> Reason:
    details = {"walletId": wallet_id, "status": status.value}
    return Reason(name, "WalletNotActive", details, _change(wallet_id, status=status))


def _over_the_limit(wallet_id: str) -> Reason:
    details = {
        "walletId": wallet_id,
        "balance": "899999999999990.0001",
        "requested": "10.0000",
        "limit": "900000000000000.0000",
    }
    change = _change(wallet_id, balance=BALANCE_MAX - Decimal("9.9999"), held_balance=ZERO)
    return Reason("over the limit", "BalanceLimitExceeded", details, change)


_OF_HOLD = {"walletId": SOURCE, "holdId": HOLD}

_EXPIRED = Reason(
    "too late", "CommandExpired", {"notAfter": JUST_BEFORE_TEXT, "now": NOW_TEXT}, _set(notAfter=JUST_BEFORE_TEXT)
)
_EXISTS = Reason(
    "there already",
    "WalletAlreadyExists",
    {"walletId": SOURCE},
    lambda scene: scene.wallets.setdefault(SOURCE, wallet(SOURCE)),
)
_SAME = Reason("to itself", "SameWallet", {"walletId": SOURCE}, _set(toWalletId=SOURCE))
_NO_SOURCE = Reason(
    "no such wallet", "WalletNotFound", {"walletId": SOURCE}, lambda scene: scene.wallets.pop(SOURCE, None)
)
_NO_TARGET = Reason(
    "no such target", "WalletNotFound", {"walletId": TARGET}, lambda scene: scene.wallets.pop(TARGET, None)
)
_QUARANTINED, _TARGET_QUARANTINED = (
    Reason(
        name,
        "WalletQuarantined",
        {"walletId": wallet_id, "since": JUST_BEFORE_TEXT},
        partial(lambda id_, scene: scene.quarantined.update({id_: JUST_BEFORE}), wallet_id),
    )
    for name, wallet_id in (("quarantined", SOURCE), ("target quarantined", TARGET))
)
_VERSION = Reason(
    "at another version",
    "EventConcurrency",
    {"walletId": SOURCE, "expected": 6, "actual": 7},
    _set(expectedVersion=6),
)
_CLOSED = _status("closed", SOURCE, WalletStatus.CLOSED)
_SUSPENDED = _status("suspended", SOURCE, WalletStatus.SUSPENDED)
_TARGET_CLOSED = _status("target closed", TARGET, WalletStatus.CLOSED)
_CURRENCY = Reason(
    "of another currency",
    "CurrencyMismatch",
    {"walletId": SOURCE, "expected": "USD", "actual": "EUR"},
    _set(currency="EUR"),
)
_TARGET_CURRENCY = Reason(
    "target of another currency",
    "CurrencyMismatch",
    {"walletId": TARGET, "expected": "EUR", "actual": "USD"},
    _change(TARGET, currency="EUR"),
)
_NO_HOLD = Reason("no such hold", "HoldNotFound", _OF_HOLD, lambda scene: scene.holds.pop(HOLD, None))
_HOLD_EXISTS = Reason(
    "hold there already",
    "HoldAlreadyExists",
    _OF_HOLD,
    lambda scene: scene.holds.setdefault(HOLD, hold(status=HoldStatus.RELEASED)),
)
_HOLD_ENDED = Reason(
    "hold captured",
    "HoldNotActive",
    {**_OF_HOLD, "status": "CAPTURED"},
    _change_hold(status=HoldStatus.CAPTURED, captured_amount=Decimal("10.0000"), captured_at=EARLIER),
)
_TIME_OVER = {**_OF_HOLD, "now": NOW_TEXT, "expiresAt": JUST_BEFORE_TEXT}
_HOLD_BORN_LATE = Reason("time over before it began", "HoldExpired", _TIME_OVER, _set(expiresAt=JUST_BEFORE_TEXT))
_HOLD_OVER = Reason("time over", "HoldExpired", _TIME_OVER, _change_hold(expires_at=JUST_BEFORE))
_NOT_DUE = Reason(
    "not due",
    "HoldNotDue",
    {**_OF_HOLD, "now": NOW_TEXT, "expiresAt": JUST_AFTER_TEXT},
    _change_hold(expires_at=JUST_AFTER),
)
_EXCEEDS = Reason(
    "more than is held",
    "CaptureExceedsHold",
    {**_OF_HOLD, "held": "10.0000", "requested": "10.0001"},
    _set(amount="10.0001"),
)
_SHORT = Reason(
    "not enough money",
    "InsufficientFunds",
    {"walletId": SOURCE, "available": "9.9999", "held": "90.0001", "requested": "10.0000"},
    _change(SOURCE, held_balance=Decimal("90.0001")),
)
_NOT_EMPTY = Reason(
    "not empty",
    "WalletNotEmpty",
    {"walletId": SOURCE, "balance": "0.0001", "held": "0.0000"},
    _change(SOURCE, balance=Decimal("0.0001")),
)
_METADATA = Reason(
    "too much metadata",
    "MetadataTooLarge",
    {"walletId": SOURCE, "bytes": 8193, "limit": 8192},
    _change(SOURCE, metadata='{"note":"' + "x" * 8173 + '"}'),
)

# In the order of refusal (contract, "Commands"); the source before the target.
REASONS: dict[str, tuple[Reason, ...]] = {
    "CreateWallet": (_EXPIRED, _EXISTS),
    "CreditWallet": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _CURRENCY, _over_the_limit(SOURCE)),
    "DebitWallet": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _CURRENCY, _SHORT),
    "Transfer": (
        _EXPIRED,
        _SAME,
        _NO_SOURCE,
        _NO_TARGET,
        _QUARANTINED,
        _TARGET_QUARANTINED,
        _VERSION,
        _SUSPENDED,
        _TARGET_CLOSED,
        _CURRENCY,
        _TARGET_CURRENCY,
        _SHORT,
        _over_the_limit(TARGET),
    ),
    "PlaceHold": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _SUSPENDED, _HOLD_EXISTS, _HOLD_BORN_LATE, _SHORT),
    "ReleaseHold": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _NO_HOLD, _HOLD_ENDED),
    "CaptureHold": (
        _EXPIRED,
        _SAME,
        _NO_SOURCE,
        _NO_TARGET,
        _QUARANTINED,
        _TARGET_QUARANTINED,
        _VERSION,
        _SUSPENDED,
        _TARGET_CLOSED,
        _TARGET_CURRENCY,
        _NO_HOLD,
        _HOLD_ENDED,
        _HOLD_OVER,
        _EXCEEDS,
        _over_the_limit(TARGET),
    ),
    "ExpireHold": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _NO_HOLD, _HOLD_ENDED, _NOT_DUE),
    "SuspendWallet": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED),
    "ReactivateWallet": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED),
    "CloseWallet": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _NOT_EMPTY),
    "UpdateMetadata": (_EXPIRED, _NO_SOURCE, _QUARANTINED, _VERSION, _CLOSED, _METADATA),
}

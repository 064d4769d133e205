"""Scenes in which a command passes, and what has it refused: one change for each reason, in the contract's order.

A change works on the command's fields and the wallets; two changes together must give the refusal of the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from worker.contracts.commands import COMMAND, Command
from worker.contracts.money import BALANCE_MAX, ZERO
from worker.contracts.status import WalletStatus
from worker.domain.decide import Decision, decide
from worker.domain.wallet import Wallet

COMMAND_ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
SOURCE = "3b241101-e2bb-4255-8caf-4136c566a962"
TARGET = "9b2d0c1e-6f3a-4f0d-8a55-1c6f5c1f7e20"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)


@dataclass
class Scene:
    """A command's fields and the wallets that are there."""

    fields: dict[str, Any]
    wallets: dict[str, Wallet]

    def change(self, wallet_id: str, **changes: Any) -> None:
        """Change a wallet, if it is there."""
        if wallet_id in self.wallets:
            self.wallets[wallet_id] = replace(self.wallets[wallet_id], **changes)

    def command(self) -> Command:
        """The command that is asked."""
        return COMMAND.validate_json(json.dumps(self.fields))

    def decide(self) -> Decision:
        """What becomes of it."""
        return decide(self.command(), self.wallets, NOW)


@dataclass(frozen=True)
class Reason:
    """A reason for a refusal: its code, its details, and the change that brings it about."""

    name: str
    code: str
    details: Mapping[str, str | int]
    apply: Callable[[Scene], None]


def wallet(wallet_id: str, **changes: Any) -> Wallet:
    """An active wallet at version 7 with 100 USD, 20 of them held."""
    as_it_is = Wallet(
        wallet_id,
        "customer-17",
        "USD",
        WalletStatus.ACTIVE,
        Decimal("100.0000"),
        Decimal("20.0000"),
        7,
        '{"plan":"business"}',
        EARLIER,
        EARLIER,
    )
    return replace(as_it_is, **changes)


def scene(command_type: str) -> Scene:
    """A scene in which a command of this type passes."""
    fields: dict[str, Any] = {"commandId": COMMAND_ID, "type": command_type}
    both = {SOURCE: wallet(SOURCE), TARGET: wallet(TARGET)}
    if command_type == "CreateWallet":
        return Scene({**fields, "walletId": SOURCE, "ownerId": "customer-17"}, {})
    if command_type == "Transfer":
        return Scene({**fields, "fromWalletId": SOURCE, "toWalletId": TARGET, "amount": "10"}, both)
    return Scene({**fields, "walletId": SOURCE, "amount": "10"}, both)


def _set(**fields: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.fields.update(fields)


def _change(wallet_id: str, **changes: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.change(wallet_id, **changes)


def _without(wallet_id: str) -> Callable[[Scene], None]:
    return lambda scene: scene.wallets.pop(wallet_id, None) and None


def _status(name: str, wallet_id: str, status: WalletStatus) -> Reason:
    details = {"walletId": wallet_id, "status": status.value}
    return Reason(name, "WalletNotActive", details, _change(wallet_id, status=status))


def _over_the_limit(wallet_id: str) -> Reason:
    balance = BALANCE_MAX - Decimal("9.9999")
    details = {
        "walletId": wallet_id,
        "balance": "899999999999990.0001",
        "requested": "10.0000",
        "limit": "900000000000000.0000",
    }
    return Reason(
        "over the limit", "BalanceLimitExceeded", details, _change(wallet_id, balance=balance, held_balance=ZERO)
    )


def _exists(scene: Scene) -> None:
    scene.wallets[SOURCE] = wallet(SOURCE)


_EXPIRED = Reason(
    "expired",
    "CommandExpired",
    {"notAfter": "2026-11-22T11:59:59.999999Z", "now": "2026-11-22T12:00:00.000000Z"},
    _set(notAfter="2026-11-22T11:59:59.999999Z"),
)
_EXISTS = Reason("there already", "WalletAlreadyExists", {"walletId": SOURCE}, _exists)
_SAME = Reason("to itself", "SameWallet", {"walletId": SOURCE}, _set(toWalletId=SOURCE))
_NO_SOURCE = Reason("no such wallet", "WalletNotFound", {"walletId": SOURCE}, _without(SOURCE))
_NO_TARGET = Reason("no such target", "WalletNotFound", {"walletId": TARGET}, _without(TARGET))
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
_SHORT = Reason(
    "not enough money",
    "InsufficientFunds",
    {"walletId": SOURCE, "available": "9.9999", "held": "90.0001", "requested": "10.0000"},
    _change(SOURCE, held_balance=Decimal("90.0001")),
)

# In the order of refusal (contract, "Commands"); the source before the target.
REASONS: dict[str, tuple[Reason, ...]] = {
    "CreateWallet": (_EXPIRED, _EXISTS),
    "CreditWallet": (_EXPIRED, _NO_SOURCE, _VERSION, _CLOSED, _CURRENCY, _over_the_limit(SOURCE)),
    "DebitWallet": (_EXPIRED, _NO_SOURCE, _VERSION, _CLOSED, _CURRENCY, _SHORT),
    "Transfer": (
        _EXPIRED,
        _SAME,
        _NO_SOURCE,
        _NO_TARGET,
        _VERSION,
        _SUSPENDED,
        _TARGET_CLOSED,
        _CURRENCY,
        _TARGET_CURRENCY,
        _SHORT,
        _over_the_limit(TARGET),
    ),
}

"""Scenes in which a command passes: its fields, and the wallets and holds that are there.

A test changes one thing, or two, and looks at what becomes of the command.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from worker.contracts.commands import COMMAND, Atomic, Command
from worker.contracts.money import ZERO
from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.domain.decide import decide
from worker.domain.decide_money import Decision
from worker.domain.wallet import Book, Hold, Wallet

COMMAND_ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
SOURCE = "3b241101-e2bb-4255-8caf-4136c566a962"
TARGET = "9b2d0c1e-6f3a-4f0d-8a55-1c6f5c1f7e20"
HOLD = "0d4f3a1c-77b2-4b5e-9c52-6a1d2e3f4a5b"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
JUST_BEFORE = NOW - timedelta(microseconds=1)
JUST_AFTER = NOW + timedelta(microseconds=1)
LATER = NOW + timedelta(days=1)
TEN = Decimal("10.0000")


@dataclass
class Scene:
    """A command's fields, the wallets and holds that are there, and since when wallets are quarantined."""

    fields: dict[str, Any]
    wallets: dict[str, Wallet] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    quarantined: dict[str, datetime] = field(default_factory=dict)

    def change(self, wallet_id: str, **changes: Any) -> None:
        """Change a wallet, if it is there."""
        if wallet_id in self.wallets:
            self.wallets[wallet_id] = self.wallets[wallet_id]._replace(**changes)

    def change_hold(self, **changes: Any) -> None:
        """Change the hold, if it is there."""
        if HOLD in self.holds:
            self.holds[HOLD] = self.holds[HOLD]._replace(**changes)

    def command(self) -> Command:
        """The command that is asked."""
        return COMMAND.validate_json(json.dumps(self.fields))

    def book(self) -> Book:
        """What the decision looks at."""
        return Book(self.wallets, self.holds, self.quarantined)

    def decide(self) -> Decision:
        """What becomes of the command."""
        command = self.command()
        assert not isinstance(command, Atomic)
        return decide(command, self.book(), NOW)


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
    return as_it_is._replace(**changes)


def hold(wallet_id: str = SOURCE, **changes: Any) -> Hold:
    """An active hold of 10, which has its time until tomorrow."""
    as_it_is = Hold(
        id=HOLD,
        wallet_id=wallet_id,
        amount=TEN,
        captured_amount=ZERO,
        status=HoldStatus.ACTIVE,
        type=HoldType.PAYMENT,
        reference=None,
        metadata=None,
        expires_at=LATER,
        released_at=None,
        captured_at=None,
        created_at=EARLIER,
        updated_at=EARLIER,
    )
    return as_it_is._replace(**changes)


def scene(command_type: str) -> Scene:
    """A scene in which a command of this type passes."""
    asked = {"commandId": COMMAND_ID, "type": command_type, **_FIELDS[command_type]}
    wallets = {SOURCE: wallet(SOURCE), TARGET: wallet(TARGET)}
    holds = {HOLD: hold()} if command_type in ("ReleaseHold", "CaptureHold", "ExpireHold") else {}
    made = Scene(asked, wallets, holds)
    if command_type == "CreateWallet":
        del wallets[SOURCE]
    elif command_type == "ExpireHold":
        made.change_hold(expires_at=JUST_BEFORE)
    elif command_type == "ReactivateWallet":
        made.change(SOURCE, status=WalletStatus.SUSPENDED)
    elif command_type == "CloseWallet":
        made.change(SOURCE, balance=ZERO, held_balance=ZERO)
    return made


_FIELDS: dict[str, dict[str, Any]] = {
    "CreateWallet": {"walletId": SOURCE, "ownerId": "customer-17"},
    "CreditWallet": {"walletId": SOURCE, "amount": "10"},
    "DebitWallet": {"walletId": SOURCE, "amount": "10"},
    "Transfer": {"fromWalletId": SOURCE, "toWalletId": TARGET, "amount": "10"},
    "PlaceHold": {"walletId": SOURCE, "holdId": HOLD, "amount": "10"},
    "ReleaseHold": {"walletId": SOURCE, "holdId": HOLD},
    "CaptureHold": {"walletId": SOURCE, "holdId": HOLD, "toWalletId": TARGET},
    "ExpireHold": {"walletId": SOURCE, "holdId": HOLD},
    "SuspendWallet": {"walletId": SOURCE},
    "ReactivateWallet": {"walletId": SOURCE},
    "CloseWallet": {"walletId": SOURCE},
    "UpdateMetadata": {"walletId": SOURCE, "metadata": {"tier": 2}},
}
COMMAND_TYPES = tuple(_FIELDS)

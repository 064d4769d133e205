"""What the replies must be: wallets in a dictionary, one command after another, the contract's rules in its order.

No batch, no store, no clock: an independent and much simpler account of the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

BALANCE_MAX = Decimal(9) * 10**14
WALLET_FIELDS = ("walletId", "fromWalletId", "toWalletId")

Command = dict[str, Any]
Refusal = tuple[str, dict[str, Any]]
"""A code, and those of its details that the contract promises."""


@dataclass
class Wallet:
    """A wallet as it stands."""

    id: str
    currency: str
    balance: Decimal
    version: int = 0

    def state(self) -> dict[str, Any]:
        """As a reply shows it; nothing is held and every wallet is active in this story."""
        money = f"{self.balance:.4f}"
        return {
            "walletId": self.id,
            "version": self.version,
            "status": "ACTIVE",
            "currency": self.currency,
            "balance": money,
            "heldBalance": "0.0000",
            "availableBalance": money,
        }


@dataclass
class Model:
    """The wallets after the commands so far."""

    wallets: dict[str, Wallet] = field(default_factory=dict)

    def answer(self, command: Command) -> dict[str, Any]:
        """Run `command`; return its reply without message and time, and without details that are not promised."""
        refusal = self._refusal(command)
        if refusal is None:
            self._take_effect(command)
        reply = {
            "commandId": command["commandId"],
            "type": command["type"],
            "status": "rejected" if refusal else "accepted",
            "wallets": [self.wallets[id_].state() for id_ in named_wallets(command) if id_ in self.wallets],
        }
        return reply | ({"error": {"code": refusal[0], "details": refusal[1]}} if refusal else {})

    @property
    def events(self) -> int:
        """How many events all commands so far have made."""
        return sum(wallet.version + 1 for wallet in self.wallets.values())

    def richest(self, currency: str, count: int) -> list[Wallet]:
        """The `count` wallets of `currency` with the highest balances, the highest first."""
        ours = [wallet for wallet in self.wallets.values() if wallet.currency == currency]
        return sorted(ours, key=lambda wallet: (-wallet.balance, wallet.id))[:count]

    def _refusal(self, command: Command) -> Refusal | None:
        """Why `command` is refused, by the first rule that refuses it."""
        ids = named_wallets(command)
        if "notAfter" in command:
            # Every deadline in this story has long passed.
            return "CommandExpired", {}
        if command["type"] == "Transfer" and len(ids) == 1:
            return "SameWallet", {"walletId": ids[0]}
        if command["type"] == "CreateWallet":
            return ("WalletAlreadyExists", {"walletId": ids[0]}) if ids[0] in self.wallets else None
        missing = next((id_ for id_ in ids if id_ not in self.wallets), None)
        if missing is not None:
            return "WalletNotFound", {"walletId": missing}
        return self._refusal_of_move(command, [self.wallets[id_] for id_ in ids])

    def _refusal_of_move(self, command: Command, wallets: list[Wallet]) -> Refusal | None:
        first, last, amount = wallets[0], wallets[-1], Decimal(command["amount"])
        expected = command.get("expectedVersion", first.version)
        if expected != first.version:
            return "EventConcurrency", {"walletId": first.id, "expected": expected, "actual": first.version}
        currency = command.get("currency", first.currency)
        if any(wallet.currency != currency for wallet in wallets):
            return "CurrencyMismatch", {}
        if command["type"] != "CreditWallet" and first.balance < amount:
            has, asked = f"{first.balance:.4f}", f"{amount:.4f}"
            return "InsufficientFunds", {"walletId": first.id, "available": has, "held": "0.0000", "requested": asked}
        if command["type"] != "DebitWallet" and last.balance + amount > BALANCE_MAX:
            return "BalanceLimitExceeded", {"walletId": last.id}
        return None

    def _take_effect(self, command: Command) -> None:
        ids = named_wallets(command)
        if command["type"] == "CreateWallet":
            balance = Decimal(command["initialBalance"])
            self.wallets[ids[0]] = Wallet(ids[0], command["currency"], balance)
            return
        amount = Decimal(command["amount"])
        changes = {"CreditWallet": [amount], "DebitWallet": [-amount], "Transfer": [-amount, amount]}
        for id_, change in zip(ids, changes[command["type"]], strict=True):
            self.wallets[id_].balance += change
            self.wallets[id_].version += 1


def named_wallets(command: Command) -> list[str]:
    """The wallets that `command` names, the source first, each once."""
    return list(dict.fromkeys(command[name] for name in WALLET_FIELDS if name in command))

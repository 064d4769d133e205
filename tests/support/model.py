"""A plain sequential model of wallets: one command after another, one dictionary, no batch and no store.

It follows the contract's text and shares no code with the worker. `explain` holds a whole run against it: the replies
must be those of the model for *some* order of the commands that the world could have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from graphlib import TopologicalSorter
from typing import Any

Command = dict[str, Any]
Answer = dict[str, Any]

LIMIT = Decimal(9) * 10**14


@dataclass
class Wallet:
    """A wallet of the model."""

    id: str
    currency: str
    balance: Decimal
    version: int = 0

    def state(self) -> dict[str, Any]:
        """As a reply shows it."""
        money = f"{self.balance:.4f}"
        amounts = {"balance": money, "heldBalance": "0.0000", "availableBalance": money}
        return {"walletId": self.id, "version": self.version, "status": "ACTIVE", "currency": self.currency, **amounts}


class No(Exception):
    """A rejection: code and details."""


@dataclass
class Model:
    """The wallets so far. `answer` runs a command and says what its reply holds, without times and messages."""

    wallets: dict[str, Wallet] = field(default_factory=dict)

    def answer(self, command: Command) -> Answer:
        """Run `command`."""
        ids = [command[name] for name in ("walletId", "fromWalletId", "toWalletId") if name in command]
        try:
            self._run(command, [self.wallets.get(id_) for id_ in ids], ids)
        except No as no:
            code, details = no.args
            outcome = {"status": "rejected", "error": {"code": code, "details": details}}
        else:
            outcome = {"status": "accepted"}
        states = [self.wallets[id_].state() for id_ in dict.fromkeys(ids) if id_ in self.wallets]
        return {"commandId": command["commandId"], "type": command["type"], "wallets": states, **outcome}

    def _run(self, command: Command, named: list[Wallet | None], ids: list[str]) -> None:
        if command.get("notAfter", "9999") < "2020":
            raise No("CommandExpired", None)
        if len(ids) > len(set(ids)):
            raise No("SameWallet", {"walletId": ids[0]})
        if command["type"] == "CreateWallet":
            self._create(command, ids[0])
            return
        for id_, wallet in zip(ids, named, strict=True):
            if wallet is None:
                raise No("WalletNotFound", {"walletId": id_})
        self._move(command, [wallet for wallet in named if wallet is not None])

    def _create(self, command: Command, id_: str) -> None:
        if id_ in self.wallets:
            raise No("WalletAlreadyExists", {"walletId": id_})
        self.wallets[id_] = Wallet(id_, command.get("currency", "USD"), Decimal(str(command["initialBalance"])))

    def _move(self, command: Command, wallets: list[Wallet]) -> None:
        first, amount = wallets[0], Decimal(str(command["amount"]))
        expected = command.get("expectedVersion", first.version)
        if expected != first.version:
            details = {"walletId": first.id, "expected": expected, "actual": first.version}
            raise No("EventConcurrency", details)
        currency = command.get("currency", first.currency)
        for wallet in wallets:
            if wallet.currency != currency:
                details = {"walletId": wallet.id, "expected": wallet.currency, "actual": currency}
                raise No("CurrencyMismatch", details)
        source = None if command["type"] == "CreditWallet" else first
        target = None if command["type"] == "DebitWallet" else wallets[-1]
        if source and source.balance < amount:
            asked, has = f"{amount:.4f}", f"{source.balance:.4f}"
            details = {"walletId": source.id, "available": has, "held": "0.0000", "requested": asked}
            raise No("InsufficientFunds", details)
        if target and target.balance + amount > LIMIT:
            raise No("BalanceLimitExceeded", None)
        for wallet, change in ((source, -amount), (target, amount)):
            if wallet:
                wallet.balance += change
                wallet.version += 1


def explain(commands: Iterable[tuple[bytes, Command, Answer]]) -> Model:
    """Fail unless the sequential model gives each of `commands` (key, command, its first reply) that very reply.

    Each command once, in the order of its partition. Between partitions the order is not given, but replies name
    versions: what made version 5 of a wallet came after whatever saw version 4, accepted or not. Any order that
    respects these and the order within each key gives the same replies, since a decision depends on the named wallets
    alone. That there is no such order is a failure, too.
    """
    runs = list(commands)
    model = Model()
    for place in _order(runs):
        _, command, reply = runs[place]
        expected, got = model.answer(command), _comparable(reply)
        if "error" in expected and expected["error"]["details"] is None:
            got["error"]["details"] = None
        assert got == expected, f"{command}\nwas answered {got}\nthe model says {expected}"
    return model


def _order(runs: list[tuple[bytes, Command, Answer]]) -> Iterable[int]:
    """Places in `runs`, in an order that keys and versions allow."""
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(runs)), ()))
    last: dict[bytes, int] = {}
    made: dict[tuple[str, int], int] = {}
    for place, (key, _, reply) in enumerate(runs):
        if key in last:
            sorter.add(place, last[key])
        last[key] = place
        if reply["status"] == "accepted":
            for wallet in reply["wallets"]:
                version = wallet["walletId"], wallet["version"]
                assert version not in made, f"two commands made version {version}"
                made[version] = place
    for place, (_, command, reply) in enumerate(runs):
        for wallet_id, seen in _seen(command, reply).items():
            if seen >= 0:
                assert (wallet_id, seen) in made, f"{command} saw version {seen}, which nobody made"
                sorter.add(place, made[wallet_id, seen])
            after = made.get((wallet_id, seen + 1), place)
            if after != place:
                sorter.add(after, place)
    return sorter.static_order()


def _seen(command: Command, reply: Answer) -> Mapping[str, int]:
    """The versions at which a command found the wallets that it names; -1: not there."""
    found = {command[name]: -1 for name in ("walletId", "fromWalletId", "toWalletId") if name in command}
    made = 1 if reply["status"] == "accepted" else 0
    return found | {wallet["walletId"]: wallet["version"] - made for wallet in reply["wallets"]}


def _comparable(reply: Answer) -> Answer:
    kept = {name: value for name, value in reply.items() if name not in ("processedAt", "error")}
    if "error" in reply:
        kept["error"] = {name: reply["error"][name] for name in ("code", "details")}
    return kept

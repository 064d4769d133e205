"""A plain sequential model of wallets: one command after another, a dictionary or two, no batch and no store.

It follows the contract's text and shares no code with the worker: it takes the JSON that travels and says what the
reply must hold.
"""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Command = dict[str, Any]
Answer = dict[str, Any]

LIMIT = Decimal(9) * 10**14
METADATA_BYTES = 8 * 1024
PAYS = ("DebitWallet", "Transfer", "PlaceHold", "CaptureHold")
ENDS = {"ReleaseHold": "RELEASED", "CaptureHold": "CAPTURED", "ExpireHold": "EXPIRED"}
SETS = {"SuspendWallet": "SUSPENDED", "ReactivateWallet": "ACTIVE", "CloseWallet": "CLOSED"}


class No(Exception):
    """A rejection: code and details."""


@dataclass
class Wallet:
    """A wallet of the model."""

    id: str
    currency: str
    balance: Decimal
    metadata: dict[str, Any]
    held: Decimal = Decimal(0)
    status: str = "ACTIVE"
    version: int = 0

    def state(self) -> dict[str, Any]:
        """As a reply shows it."""
        amounts = {"balance": self.balance, "heldBalance": self.held, "availableBalance": self.balance - self.held}
        about = {"walletId": self.id, "version": self.version, "status": self.status, "currency": self.currency}
        return about | {name: _money(amount) for name, amount in amounts.items()}

    def change(self, balance: Decimal = Decimal(0), held: Decimal = Decimal(0), status: str | None = None) -> None:
        """Take an event."""
        self.balance, self.held, self.version = self.balance + balance, self.held + held, self.version + 1
        self.status = status or self.status


@dataclass
class Hold:
    """A hold of the model."""

    id: str
    wallet_id: str
    amount: Decimal
    expires_at: datetime | None
    status: str = "ACTIVE"
    captured: Decimal = Decimal(0)

    def state(self) -> dict[str, Any]:
        """As a reply shows it."""
        amounts = {"amount": _money(self.amount), "capturedAmount": _money(self.captured)}
        return {"holdId": self.id, "status": self.status, **amounts, "expiresAt": _time(self.expires_at)}


@dataclass
class Model:
    """The wallets and holds so far. `answer` runs a command at `now` and says what its reply holds (`comparable`)."""

    wallets: dict[str, Wallet] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def answer(self, command: Command) -> Answer:
        """Run `command`, a group or not."""
        parts = command.get("commands", [command])
        before = self._named_by(parts)
        late = "notAfter" in command and self.now > _read_time(command["notAfter"])
        error = {"code": "CommandExpired", "details": None} if late else None
        told = []
        for index, part in enumerate(parts):
            said = {"index": index, "type": part["type"], "status": "notRun"}
            if not error:
                refusal = self._refusal(part)
                said |= {"status": "rejected", "error": refusal} if refusal else {"status": "accepted"}
                said |= self._hold_of(part)
                error = refusal and {**refusal, "details": refusal["details"] | {"index": index}}
            told.append(said)
        if error:
            for kept, id_, was in before:
                kept.update({id_: was}) if was else kept.pop(id_, None)
            for said, part in zip(told, parts, strict=True):
                said.pop("hold", None)
                said.update({} if said["status"] == "notRun" else self._hold_of(part))
        if parts[0] is command:
            about, error = self._hold_of(command), told[0].get("error", error)
        else:
            about = {"parts": told}
        outcome = {"status": "rejected", "error": error} if error else {"status": "accepted"}
        named = dict.fromkeys(id_ for part in parts for id_ in wallets_of(part))
        states = [self.wallets[id_].state() for id_ in named if id_ in self.wallets]
        return {"commandId": command["commandId"], "type": command["type"], "wallets": states, **about, **outcome}

    def _named_by(self, parts: list[Command]) -> list[tuple[dict[str, Any], str, Any]]:
        """What the parts can change, as it is: a copy, or None where there is nothing yet."""
        wallets = {id_ for part in parts for id_ in wallets_of(part)}
        holds = {part["holdId"] for part in parts if "holdId" in part}
        return [
            (kept, id_, copy(kept.get(id_)))
            for kept, ids in ((self.wallets, wallets), (self.holds, holds))
            for id_ in ids
        ]

    def _refusal(self, part: Command) -> dict[str, Any] | None:
        try:
            self._run(part)
        except No as no:
            return {"code": no.args[0], "details": no.args[1]}
        return None

    def _hold_of(self, part: Command) -> dict[str, Any]:
        hold = self.holds.get(part.get("holdId", ""))
        return {"hold": hold.state()} if hold and hold.wallet_id == part["walletId"] else {}

    def _run(self, c: Command) -> None:
        ids = wallets_of(c)
        _unless(len(ids) == len(set(ids)), "SameWallet", walletId=ids[0])
        if c["type"] == "CreateWallet":
            _unless(ids[0] not in self.wallets, "WalletAlreadyExists", walletId=ids[0])
            balance = Decimal(str(c.get("initialBalance", 0)))
            self.wallets[ids[0]] = Wallet(ids[0], c.get("currency", "USD"), balance, c.get("metadata") or {})
            return
        for id_ in ids:
            _unless(id_ in self.wallets, "WalletNotFound", walletId=id_)
        source, target = self.wallets[ids[0]], self.wallets[ids[1]] if ids[1:] else None
        self._check_wallets(c, source, target)
        if "holdId" in c:
            self._run_hold(c, source, target)
        elif c["type"] in SETS:
            empty = not source.balance and not source.held
            _unless(empty or c["type"] != "CloseWallet", "WalletNotEmpty", **_has(source, "balance", source.balance))
            if source.status != SETS[c["type"]]:
                source.change(status=SETS[c["type"]])
        elif c["type"] == "UpdateMetadata":
            merged = source.metadata | c["metadata"]
            kept = {key: value for key, value in merged.items() if c["metadata"].get(key, 0) is not None}
            size = len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode())
            _unless(size <= METADATA_BYTES, "MetadataTooLarge", walletId=source.id, bytes=size, limit=METADATA_BYTES)
            source.metadata = kept
            source.change()
        else:
            self._move(c, source, target)

    def _check_wallets(self, c: Command, source: Wallet, target: Wallet | None) -> None:
        expected = c.get("expectedVersion")
        details = {"expected": expected, "actual": source.version}
        _unless(expected in (None, source.version), "EventConcurrency", walletId=source.id, **details)
        shut = ("CLOSED", "SUSPENDED") if c["type"] in PAYS else ("CLOSED",)
        _unless(source.status not in shut, "WalletNotActive", walletId=source.id, status=source.status)
        _unless(
            not target or target.status != "CLOSED", "WalletNotActive", walletId=c.get("toWalletId"), status="CLOSED"
        )
        currency = c.get("currency") or source.currency
        for wallet in (source, target):
            if wallet:
                details = {"expected": wallet.currency, "actual": currency}
                _unless(wallet.currency == currency, "CurrencyMismatch", walletId=wallet.id, **details)

    def _move(self, c: Command, source: Wallet, target: Wallet | None) -> None:
        amount = Decimal(str(c["amount"]))
        if c["type"] == "CreditWallet":
            source, target = None, source
        _has_enough(source, amount)
        _has_room(target, amount)
        if source:
            source.change(-amount)
        if target:
            target.change(amount)

    def _run_hold(self, c: Command, source: Wallet, target: Wallet | None) -> None:
        about = {"walletId": source.id, "holdId": c["holdId"]}
        hold = self.holds.get(c["holdId"])
        if c["type"] == "PlaceHold":
            amount, end = Decimal(str(c["amount"])), c.get("expiresAt") and _read_time(c["expiresAt"])
            _unless(hold is None, "HoldAlreadyExists", **about)
            when = {"now": _time(self.now), "expiresAt": _time(end)}
            _unless(not end or self.now <= end, "HoldExpired", **about, **when)
            _has_enough(source, amount)
            self.holds[c["holdId"]] = Hold(c["holdId"], source.id, amount, end)
            source.change(held=amount)
            return
        _unless(hold is not None and hold.wallet_id == source.id, "HoldNotFound", **about)
        self._check_end(c["type"], hold, about)
        amount = Decimal(str(c.get("amount") or hold.amount)) if c["type"] == "CaptureHold" else Decimal(0)
        details = {"held": _money(hold.amount), "requested": _money(amount)}
        _unless(amount <= hold.amount, "CaptureExceedsHold", **about, **details)
        _has_room(target, amount)
        hold.status, hold.captured = ENDS[c["type"]], amount
        source.change(-amount, -hold.amount)
        if target:
            target.change(amount)

    def _check_end(self, kind: str, hold: Hold, about: dict[str, Any]) -> None:
        when = {"now": _time(self.now)} | ({"expiresAt": _time(hold.expires_at)} if hold.expires_at else {})
        _unless(kind == "ExpireHold" or hold.status != "EXPIRED", "HoldExpired", **about, **when)
        _unless(hold.status == "ACTIVE", "HoldNotActive", **about, status=hold.status)
        end = hold.expires_at
        _unless(kind != "CaptureHold" or not end or self.now <= end, "HoldExpired", **about, **when)
        _unless(kind != "ExpireHold" or (end and self.now >= end), "HoldNotDue", **about, **when)


def wallets_of(part: Command) -> list[str]:
    """The wallets that a command or a part names, the source first."""
    return [part[name] for name in ("walletId", "fromWalletId", "toWalletId") if part.get(name)]


def comparable(reply: Answer) -> Answer:
    """A reply without what the model does not know: its time, and the messages."""
    if isinstance(reply, list):
        return [comparable(item) for item in reply]
    if isinstance(reply, dict):
        return {name: comparable(item) for name, item in reply.items() if name not in ("processedAt", "message")}
    return reply


def _unless(fine: object, code: str, **details: Any) -> None:
    if not fine:
        raise No(code, details)


def _has(wallet: Wallet, name: str, amount: Decimal) -> dict[str, Any]:
    return {"walletId": wallet.id, name: _money(amount), "held": _money(wallet.held)}


def _has_enough(wallet: Wallet | None, amount: Decimal) -> None:
    if wallet and wallet.balance - wallet.held < amount:
        raise No(
            "InsufficientFunds", _has(wallet, "available", wallet.balance - wallet.held) | {"requested": _money(amount)}
        )


def _has_room(wallet: Wallet | None, amount: Decimal) -> None:
    if wallet and wallet.balance + amount > LIMIT:
        details = {"balance": _money(wallet.balance), "requested": _money(amount), "limit": _money(LIMIT)}
        raise No("BalanceLimitExceeded", {"walletId": wallet.id, **details})


def _money(amount: Decimal) -> str:
    return f"{amount:.4f}"


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time(time: datetime | None) -> str | None:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if time else None

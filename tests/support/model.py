"""A plain sequential model of wallets: the contract's rules, one command after another, two dictionaries, no store.

It shares no code with the worker: it takes the JSON that travels. What a reply shows of it says `model_reply.py`.
"""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Command = dict[str, Any]

LIMIT = Decimal(9) * 10**14
METADATA_BYTES = 8 * 1024
PAYS = ("DebitWallet", "Transfer", "PlaceHold", "CaptureHold")
ENDS = {"ReleaseHold": "RELEASED", "CaptureHold": "CAPTURED", "ExpireHold": "EXPIRED"}
SETS = {"SuspendWallet": "SUSPENDED", "ReactivateWallet": "ACTIVE", "CloseWallet": "CLOSED"}


class No(Exception):
    """A rejection: its code, its details, and the part of a group that refused."""

    index: int | None = None


@dataclass
class Wallet:
    id: str
    currency: str
    balance: Decimal
    metadata: dict[str, Any]
    held: Decimal = Decimal(0)
    status: str = "ACTIVE"
    version: int = 0

    def change(self, balance: Decimal = Decimal(0), held: Decimal = Decimal(0), status: str | None = None) -> None:
        """Take an event."""
        self.balance, self.held, self.version = self.balance + balance, self.held + held, self.version + 1
        self.status = status or self.status


@dataclass
class Hold:
    id: str
    wallet_id: str
    amount: Decimal
    expires_at: datetime | None
    status: str = "ACTIVE"
    captured: Decimal = Decimal(0)


@dataclass
class Model:
    """The wallets and holds so far, and the time at which the next command is decided."""

    wallets: dict[str, Wallet] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, command: Command) -> list[Hold | None]:
        """Run a command or a group: the hold of each part as it left it. Or raise `No`, and nothing happened."""
        end, parts, holds = time_of(command.get("notAfter")), parts_of(command), []
        refuse(end and self.now > end, "CommandExpired", notAfter=end, now=self.now)
        trial = self._named_by(parts) if parts[1:] else self
        for index, part in enumerate(parts):
            try:
                trial._run(part)
            except No as no:
                no.index = index
                raise
            holds.append(copy(trial.hold_of(part)))
        if trial is not self:
            self.wallets |= trial.wallets
            self.holds |= trial.holds
        return holds

    def hold_of(self, part: Command) -> Hold | None:
        """The hold that a part names, if it is its wallet's."""
        hold = self.holds.get(part.get("holdId", ""))
        return hold if hold and hold.wallet_id == part["walletId"] else None

    def _named_by(self, parts: list[Command]) -> Model:
        """A copy of what parts name, to try them on."""
        wallets = {id_ for part in parts for id_ in wallets_of(part)} & self.wallets.keys()
        holds = {part["holdId"] for part in parts if "holdId" in part} & self.holds.keys()
        return Model({i: copy(self.wallets[i]) for i in wallets}, {i: copy(self.holds[i]) for i in holds}, self.now)

    def _run(self, c: Command) -> None:
        """The contract's order of refusal from top to bottom; then what happens."""
        kind, ids = c["type"], wallets_of(c)
        refuse(len(ids) != len(set(ids)), "SameWallet", walletId=ids[0])
        if kind == "CreateWallet":
            refuse(ids[0] in self.wallets, "WalletAlreadyExists", walletId=ids[0])
            balance = Decimal(str(c.get("initialBalance") or 0))
            self.wallets[ids[0]] = Wallet(ids[0], c.get("currency") or "USD", balance, _patched({}, c))
            return
        for id_ in ids:
            refuse(id_ not in self.wallets, "WalletNotFound", walletId=id_)
        source, *targets = (self.wallets[id_] for id_ in ids)
        expected = c.get("expectedVersion")
        moved = expected not in (None, source.version)
        refuse(moved, "EventConcurrency", source, expected=expected, actual=source.version)
        for wallet in (source, *targets):
            shut = ("CLOSED", "SUSPENDED") if wallet is source and kind in PAYS else ("CLOSED",)
            refuse(wallet.status in shut, "WalletNotActive", wallet, status=wallet.status)
        currency = c.get("currency") or source.currency
        for wallet in (source, *targets):
            refuse(wallet.currency != currency, "CurrencyMismatch", wallet, expected=wallet.currency, actual=currency)
        hold = self._hold(c, source) if kind in ENDS else None
        if kind == "PlaceHold":
            self._check_new_hold(c, source)
        whole = hold.amount if hold and kind == "CaptureHold" else 0
        amount = Decimal(str(c.get("amount") or whole))
        if hold:
            details = {"holdId": hold.id, "held": hold.amount, "requested": amount}
            refuse(amount > hold.amount, "CaptureExceedsHold", source, **details)
        free, held = source.balance - source.held, source.held
        short = kind in PAYS and not hold and free < amount
        refuse(short, "InsufficientFunds", source, available=free, held=held, requested=amount)
        full = kind == "CloseWallet" and (source.balance or held)
        refuse(full, "WalletNotEmpty", source, balance=source.balance, held=held)
        for wallet in [source] if kind == "CreditWallet" else targets:
            over, details = wallet.balance + amount > LIMIT, {"balance": wallet.balance, "limit": LIMIT}
            refuse(over, "BalanceLimitExceeded", wallet, requested=amount, **details)
        if kind == "UpdateMetadata":
            source.metadata = _merged(source, c)
        if kind == "PlaceHold":
            self.holds[c["holdId"]] = Hold(c["holdId"], source.id, amount, time_of(c.get("expiresAt")))
            source.change(held=amount)
        elif hold:
            hold.status, hold.captured = ENDS[kind], amount
            source.change(-amount, -hold.amount)
        elif source.status != SETS.get(kind):  # What is about no money moves 0.
            source.change(amount if kind == "CreditWallet" else -amount, status=SETS.get(kind))
        for target in targets:
            target.change(amount)

    def _check_new_hold(self, c: Command, source: Wallet) -> None:
        refuse(c["holdId"] in self.holds, "HoldAlreadyExists", source, holdId=c["holdId"])
        end = time_of(c.get("expiresAt"))
        refuse(end and self.now > end, "HoldExpired", source, holdId=c["holdId"], now=self.now, expiresAt=end)

    def _hold(self, c: Command, source: Wallet) -> Hold:
        """The active hold that a command may end now."""
        kind, of, hold = c["type"], {"wallet": source, "holdId": c["holdId"]}, self.hold_of(c)
        if not hold:
            raise No("HoldNotFound", {"walletId": source.id, "holdId": c["holdId"]})
        end, when = hold.expires_at, {"now": self.now, "expiresAt": hold.expires_at}
        refuse(hold.status == "EXPIRED" and kind != "ExpireHold", "HoldExpired", **of, **when)
        refuse(hold.status != "ACTIVE", "HoldNotActive", **of, status=hold.status)
        refuse(kind == "CaptureHold" and end and self.now > end, "HoldExpired", **of, **when)
        refuse(kind == "ExpireHold" and not (end and self.now >= end), "HoldNotDue", **of, **when)
        return hold


def parts_of(command: Command) -> list[Command]:
    """The parts of a group; a command by itself is its only part."""
    return list(command.get("commands", [command]))


def wallets_of(part: Command) -> list[str]:
    """The wallets that a command or a part names, the source first."""
    return [part[name] for name in ("walletId", "fromWalletId", "toWalletId") if part.get(name)]


def refuse(reason: object, code: str, wallet: Wallet | None = None, **details: Any) -> None:
    """Raise a rejection where there is a reason."""
    if reason:
        raise No(code, ({"walletId": wallet.id} if wallet else {}) | details)


def time_of(text: str | None) -> datetime | None:
    """A time that travels."""
    return datetime.fromisoformat(text) if text else None


def _merged(wallet: Wallet, c: Command) -> dict[str, Any]:
    """The wallet's metadata after an `UpdateMetadata`."""
    kept = _patched(wallet.metadata, c)
    size = len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode())
    refuse(size > METADATA_BYTES, "MetadataTooLarge", wallet, bytes=size, limit=METADATA_BYTES)
    return kept


def _patched(before: dict[str, Any], c: Command) -> dict[str, Any]:
    """Metadata with a command's merged into it by RFC 7396, path by path."""
    after = json.loads(json.dumps(before))
    steps = [(after, c.get("metadata") or {})]
    while steps:
        place, patch = steps.pop()
        for key, value in patch.items():
            if isinstance(value, dict):
                place[key] = place[key] if isinstance(place.get(key), dict) else {}
                steps.append((place[key], value))
            elif value is None:
                place.pop(key, None)
            else:
                place[key] = value
    return after

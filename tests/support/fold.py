"""What a wallet's events say happened, added up raw: from its stream or from its ledger, without the worker's code.

Each event also says how it left the wallet and its hold; the fold fails where that is not what it comes to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
from esdbclient import RecordedEvent

BALANCE = {"WalletCreated": 1, "WalletCredited": 1, "WalletDebited": -1, "HoldCaptured": -1}
"""What becomes of the balance: an event's amount comes in or goes out."""
HOLD_ENDS = {"HoldReleased": "RELEASED", "HoldCaptured": "CAPTURED", "HoldExpired": "EXPIRED"}
STATUSES = {"WalletSuspended": "SUSPENDED", "WalletReactivated": "ACTIVE", "WalletClosed": "CLOSED"}


class Step(NamedTuple):
    """An event, from whichever store; `said` are balance, held balance and status after it, `hold` is the whole hold.

    `metadata` is the wallet's; None where the store does not repeat it, or where there is none.
    """

    type: str
    amount: Decimal
    hold: Mapping[str, Any] | None
    metadata: Any
    said: tuple[Decimal, Decimal, str]


@dataclass
class Folded:
    """What it comes to: the wallet, and its holds as (amount, captured amount, status)."""

    version: int = -1
    balance: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    status: str = "ACTIVE"
    metadata: Any = None
    holds: dict[str, tuple[Decimal, Decimal, str]] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Add an event."""
        self.version += 1
        self.balance += BALANCE.get(step.type, 0) * step.amount
        self.status = STATUSES.get(step.type, self.status)
        if step.type in ("WalletCreated", "WalletMetadataUpdated"):
            self.metadata = {} if step.metadata is None else step.metadata
        if step.hold is not None:
            self._add_hold(step, step.hold)
        assert step.said == (self.balance, self.held, self.status), (self, step)
        assert step.metadata in (None, self.metadata), (self, step)

    def _add_hold(self, step: Step, hold: Mapping[str, Any]) -> None:
        id_ = hold["holdId"]
        if step.type == "HoldPlaced":
            assert id_ not in self.holds
            self.holds[id_] = step.amount, Decimal(0), "ACTIVE"
            self.held += step.amount
        else:
            assert id_ in self.holds, f"{step} ends a hold that was never placed"
            reserved, _, status = self.holds[id_]
            assert status == "ACTIVE", f"{step} ends a hold that is {status}"
            captured = step.amount if step.type == "HoldCaptured" else Decimal(0)
            assert captured <= reserved if step.type == "HoldCaptured" else step.amount == reserved, step
            self.holds[id_] = reserved, captured, HOLD_ENDS[step.type]
            self.held -= reserved
        said = Decimal(hold["amount"]), Decimal(hold["capturedAmount"]), hold["status"]
        assert said == self.holds[id_], (self, step)


def fold_stream(events: Iterable[RecordedEvent]) -> Folded:
    """Fold a wallet's stream."""
    folded = Folded()
    for event in events:
        data = json.loads(event.data)
        amount = Decimal(data.get("initialBalance") or data.get("amount") or 0)
        said = Decimal(data["balance"]), Decimal(data["heldBalance"]), data["status"]
        folded.add(Step(event.type, amount, data.get("hold"), data["walletMetadata"], said))
    return folded


def fold_ledger(entries: Iterable[asyncpg.Record]) -> Folded:
    """Fold a wallet's entries."""
    folded = Folded()
    for entry in entries:
        hold, metadata = (json.loads(entry[name] or "null") for name in ("hold", "wallet_metadata"))
        said = entry["balance"], entry["held_balance"], entry["status"]
        folded.add(Step(entry["event_type"], entry["amount"] or Decimal(0), hold, metadata, said))
    return folded

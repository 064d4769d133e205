"""An entry of the ledger, read back as the fact that it was written for, so that `evolve` can fold it again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

import orjson

from worker.contracts.events import EventType
from worker.contracts.money import ZERO
from worker.contracts.status import HoldType
from worker.domain import facts
from worker.domain.facts import Fact, HoldFact
from worker.domain.wallet import NO_METADATA
from worker.ledger.entry import Entry


class UnreadableEntry(ValueError):
    """An entry that nobody here can have written; the message says why."""


def fact_of(entry: Entry, owner_id: str, currency: str) -> Fact:
    """The fact that `entry` is. What a creation says of the wallet's owner and currency, the ledger does not keep.

    `UnreadableEntry`: its type is none of ours, or its hold is not a hold.
    """
    try:
        return _fact(entry, owner_id, currency)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise UnreadableEntry(repr(error)) from error


def _fact(entry: Entry, owner_id: str, currency: str) -> Fact:
    amount, wallet_id = entry.amount or ZERO, entry.wallet_id
    match EventType(entry.event_type):
        case EventType.WALLET_CREATED:
            return facts.WalletCreated(wallet_id, owner_id, currency, amount, entry.wallet_metadata or NO_METADATA)
        case EventType.WALLET_CREDITED:
            return facts.WalletCredited(wallet_id, amount, entry.counterparty_wallet_id)
        case EventType.WALLET_DEBITED:
            return facts.WalletDebited(wallet_id, amount, entry.counterparty_wallet_id)
        case EventType.WALLET_SUSPENDED:
            return facts.WalletSuspended(wallet_id, entry.reason)
        case EventType.WALLET_REACTIVATED:
            return facts.WalletReactivated(wallet_id, entry.reason)
        case EventType.WALLET_CLOSED:
            return facts.WalletClosed(wallet_id)
        case EventType.WALLET_METADATA_UPDATED:
            return facts.WalletMetadataUpdated(wallet_id, entry.wallet_metadata or NO_METADATA)
        case EventType.HOLD_PLACED | EventType.HOLD_RELEASED | EventType.HOLD_CAPTURED | EventType.HOLD_EXPIRED:
            return _hold_fact(entry, amount, orjson.loads(entry.hold or "{}"))
        case unknown:
            assert_never(unknown)


def _hold_fact(entry: Entry, amount: Decimal, hold: dict[str, Any]) -> HoldFact:
    wallet_id, hold_id = entry.wallet_id, hold["holdId"]
    match entry.event_type:
        case EventType.HOLD_PLACED:
            expires_at = datetime.fromisoformat(hold["expiresAt"]) if "expiresAt" in hold else None
            metadata = orjson.dumps(hold["metadata"]).decode() if "metadata" in hold else None
            type_of_hold = HoldType(hold["type"])
            return facts.HoldPlaced(
                wallet_id, hold_id, amount, type_of_hold, hold.get("reference"), metadata, expires_at
            )
        case EventType.HOLD_CAPTURED:
            released = Decimal(hold["amount"]) - amount
            return facts.HoldCaptured(wallet_id, hold_id, amount, released, entry.counterparty_wallet_id)
        case EventType.HOLD_RELEASED:
            return facts.HoldReleased(wallet_id, hold_id, amount)
        case _:
            return facts.HoldExpired(wallet_id, hold_id, amount)

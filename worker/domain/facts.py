"""What a decision says has happened, before it has a place in a stream: one fact makes one event.

A fact names the wallet that it changes. `evolve` turns wallet and fact into the wallet after it; the stages behind
give the event its version, its id and its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from worker.contracts.events import EventType
from worker.contracts.status import HoldType


class OfHold:
    """What changes a hold beside its wallet."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class WalletCreated:
    """A wallet was opened, with `amount` in it. `metadata` is JSON text."""

    wallet_id: str
    owner_id: str
    currency: str
    amount: Decimal
    metadata: str

    type = EventType.WALLET_CREATED


@dataclass(frozen=True, slots=True)
class WalletCredited:
    """Money came in; from `counterparty_wallet_id` where it was a transfer or a capture."""

    wallet_id: str
    amount: Decimal
    counterparty_wallet_id: str | None = None

    type = EventType.WALLET_CREDITED


@dataclass(frozen=True, slots=True)
class WalletDebited:
    """Money went out; into `counterparty_wallet_id` where it was a transfer."""

    wallet_id: str
    amount: Decimal
    counterparty_wallet_id: str | None = None

    type = EventType.WALLET_DEBITED


@dataclass(frozen=True, slots=True)
class HoldPlaced(OfHold):
    """Money was reserved. `metadata` is JSON text, or None."""

    wallet_id: str
    hold_id: str
    amount: Decimal
    hold_type: HoldType
    reference: str | None
    metadata: str | None
    expires_at: datetime | None

    type = EventType.HOLD_PLACED


@dataclass(frozen=True, slots=True)
class HoldReleased(OfHold):
    """`amount`, all of a hold, was given free."""

    wallet_id: str
    hold_id: str
    amount: Decimal

    type = EventType.HOLD_RELEASED


@dataclass(frozen=True, slots=True)
class HoldCaptured(OfHold):
    """`amount` of a hold was paid out, into `counterparty_wallet_id` where one is named; `released` was given free."""

    wallet_id: str
    hold_id: str
    amount: Decimal
    released: Decimal
    counterparty_wallet_id: str | None = None

    type = EventType.HOLD_CAPTURED


@dataclass(frozen=True, slots=True)
class HoldExpired(OfHold):
    """The time of a hold was over: `amount`, all of it, was given free."""

    wallet_id: str
    hold_id: str
    amount: Decimal

    type = EventType.HOLD_EXPIRED


@dataclass(frozen=True, slots=True)
class WalletSuspended:
    """No more money goes out."""

    wallet_id: str
    reason: str | None

    type = EventType.WALLET_SUSPENDED


@dataclass(frozen=True, slots=True)
class WalletReactivated:
    """A suspension was lifted."""

    wallet_id: str
    reason: str | None

    type = EventType.WALLET_REACTIVATED


@dataclass(frozen=True, slots=True)
class WalletClosed:
    """The wallet takes nothing any more."""

    wallet_id: str

    type = EventType.WALLET_CLOSED


@dataclass(frozen=True, slots=True)
class WalletMetadataUpdated:
    """The wallet's metadata is now `metadata`, as JSON text."""

    wallet_id: str
    metadata: str

    type = EventType.WALLET_METADATA_UPDATED


HoldFact = HoldPlaced | HoldReleased | HoldCaptured | HoldExpired
WalletFact = (
    WalletCreated
    | WalletCredited
    | WalletDebited
    | WalletSuspended
    | WalletReactivated
    | WalletClosed
    | WalletMetadataUpdated
)
Fact = WalletFact | HoldFact

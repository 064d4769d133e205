"""The events: what happened to a wallet, as it stands in KurrentDB (contract, "KurrentDB").

An event carries its own facts and the wallet's state after it, so that a reader needs no other event to show it. Its
revision in the stream ``wallet-<walletId>`` equals the wallet's version after it. Like the replies, events are written
without building models (`ledger/entry.py`); the tests hold every written event against these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from worker.contracts.fields import Uuid
from worker.contracts.money import Money
from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.contracts.written import Written, is_none

STREAM_PREFIX = "wallet-"
CORRELATION_ID = "$correlationId"
CAUSATION_ID = "$causationId"


def stream_name(wallet_id: str) -> str:
    """The stream of a wallet's events."""
    return f"{STREAM_PREFIX}{wallet_id}"


class EventType(StrEnum):
    """The names under which events are recorded."""

    WALLET_CREATED = "WalletCreated"
    WALLET_CREDITED = "WalletCredited"
    WALLET_DEBITED = "WalletDebited"
    HOLD_PLACED = "HoldPlaced"
    HOLD_RELEASED = "HoldReleased"
    HOLD_CAPTURED = "HoldCaptured"
    HOLD_EXPIRED = "HoldExpired"
    WALLET_SUSPENDED = "WalletSuspended"
    WALLET_REACTIVATED = "WalletReactivated"
    WALLET_CLOSED = "WalletClosed"
    WALLET_METADATA_UPDATED = "WalletMetadataUpdated"


class EventModel(Written):
    """What every event carries: where it stands, and the wallet's state after it."""

    wallet_id: Uuid
    version: int = Field(ge=0, description="The event's revision in the stream.")
    occurred_at: AwareDatetime
    group_id: Uuid | None = Field(None, exclude_if=is_none, description="The `Atomic` command that it is a part of.")
    reference: str | None = Field(None, exclude_if=is_none)
    metadata: dict[str, Any] | None = Field(None, exclude_if=is_none)
    owner_id: str
    currency: str
    status: WalletStatus
    balance: Money
    held_balance: Money
    wallet_metadata: dict[str, Any]
    created_at: AwareDatetime


class WalletCreated(EventModel):
    """A wallet was opened, perhaps with money in it."""

    version: Literal[0]
    initial_balance: Money


class Counterparty(EventModel):
    """An event whose money came from, or went into, another wallet."""

    counterparty_wallet_id: Uuid | None = Field(None, exclude_if=is_none)
    transfer_id: Uuid | None = Field(None, exclude_if=is_none)


class WalletCredited(Counterparty):
    """Money came in, by a credit or from another wallet."""

    amount: Money


class WalletDebited(Counterparty):
    """Money went out, by a debit or into another wallet."""

    amount: Money


class HoldState(Written):
    """A hold as it is after the event, whole."""

    hold_id: Uuid
    status: HoldStatus
    type: HoldType
    amount: Money = Field(description="What was reserved.")
    captured_amount: Money = Field(description="What of it was paid out.")
    reference: str | None = Field(None, exclude_if=is_none)
    metadata: dict[str, Any] | None = Field(None, exclude_if=is_none)
    expires_at: AwareDatetime | None = Field(None, exclude_if=is_none)
    released_at: AwareDatetime | None = Field(None, exclude_if=is_none)
    captured_at: AwareDatetime | None = Field(None, exclude_if=is_none)
    created_at: AwareDatetime
    updated_at: AwareDatetime


class HoldPlaced(EventModel):
    """Money was reserved: `amount` is no longer available."""

    amount: Money
    hold: HoldState


class HoldReleased(EventModel):
    """A hold was given free: `amount` is available again."""

    amount: Money
    hold: HoldState


class HoldCaptured(Counterparty):
    """`amount` of a hold was paid out; what else it reserved is available again."""

    amount: Money
    hold: HoldState


class HoldExpired(EventModel):
    """The time of a hold was over: `amount` is available again."""

    amount: Money
    hold: HoldState


class WalletSuspended(EventModel):
    """The wallet lets no more money out, and places no hold."""

    reason: str | None = Field(None, exclude_if=is_none)


class WalletReactivated(EventModel):
    """A suspension was lifted."""

    reason: str | None = Field(None, exclude_if=is_none)


class WalletClosed(EventModel):
    """The wallet takes nothing any more."""


class WalletMetadataUpdated(EventModel):
    """The wallet's metadata changed: `walletMetadata` is what it is now."""


EVENT_MODELS: dict[EventType, type[EventModel]] = {
    EventType.WALLET_CREATED: WalletCreated,
    EventType.WALLET_CREDITED: WalletCredited,
    EventType.WALLET_DEBITED: WalletDebited,
    EventType.HOLD_PLACED: HoldPlaced,
    EventType.HOLD_RELEASED: HoldReleased,
    EventType.HOLD_CAPTURED: HoldCaptured,
    EventType.HOLD_EXPIRED: HoldExpired,
    EventType.WALLET_SUSPENDED: WalletSuspended,
    EventType.WALLET_REACTIVATED: WalletReactivated,
    EventType.WALLET_CLOSED: WalletClosed,
    EventType.WALLET_METADATA_UPDATED: WalletMetadataUpdated,
}

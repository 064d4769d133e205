"""The events: what happened to a wallet, as it stands in KurrentDB (contract, "KurrentDB").

An event carries its own facts and the wallet's state after it, so that a reader needs no other event to show it. Its
revision in the stream ``wallet-<walletId>`` equals the wallet's version after it. Like the replies, events are written
without building models (`ledger/entry.py`); the tests hold every written event against these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from worker.contracts.fields import Uuid
from worker.contracts.money import Money
from worker.contracts.status import WalletStatus

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


class EventModel(BaseModel):
    """What every event carries: where it stands, and the wallet's state after it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    wallet_id: Uuid
    version: int = Field(ge=0, description="The event's revision in the stream.")
    occurred_at: AwareDatetime
    reference: str | None = Field(None, exclude_if=lambda value: value is None)
    metadata: dict[str, Any] | None = Field(None, exclude_if=lambda value: value is None)
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


class WalletCredited(EventModel):
    """Money came in, by a credit or from another wallet."""

    amount: Money
    counterparty_wallet_id: Uuid | None = Field(None, exclude_if=lambda value: value is None)
    transfer_id: Uuid | None = Field(None, exclude_if=lambda value: value is None)


class WalletDebited(EventModel):
    """Money went out, by a debit or into another wallet."""

    amount: Money
    counterparty_wallet_id: Uuid | None = Field(None, exclude_if=lambda value: value is None)
    transfer_id: Uuid | None = Field(None, exclude_if=lambda value: value is None)


EVENT_MODELS: dict[EventType, type[EventModel]] = {
    EventType.WALLET_CREATED: WalletCreated,
    EventType.WALLET_CREDITED: WalletCredited,
    EventType.WALLET_DEBITED: WalletDebited,
}

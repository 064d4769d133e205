"""What a decision says has happened, before it has a place in a stream: one fact makes one event.

A fact names the wallet that it changes. `evolve` turns wallet and fact into the wallet after it; the stages behind
give the event its version, its id and its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from worker.contracts.events import EventType


@dataclass(frozen=True, slots=True)
class WalletCreated:
    """A wallet was opened. `metadata` is JSON text."""

    wallet_id: str
    owner_id: str
    currency: str
    initial_balance: Decimal
    metadata: str

    type = EventType.WALLET_CREATED


@dataclass(frozen=True, slots=True)
class WalletCredited:
    """Money came in; from `counterparty_wallet_id` where it was a transfer."""

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


Fact = WalletCreated | WalletCredited | WalletDebited

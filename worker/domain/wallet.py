"""Wallets and holds as the decisions see them: values that are never changed in place.

`evolve` makes the next ones. Money is `Decimal` with four places; ids are text; metadata is JSON text, as it was
written. Named tuples, since a batch makes thousands of them, and they are the cheapest values that cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from worker.contracts.status import HoldStatus, HoldType, WalletStatus

NO_METADATA = "{}"


class Wallet(NamedTuple):
    """A wallet at `version`, which is the revision of the last event in its stream.

    `updated_at` is the last event's time.
    """

    id: str
    owner_id: str
    currency: str
    status: WalletStatus
    balance: Decimal
    held_balance: Decimal
    version: int
    metadata: str
    created_at: datetime
    updated_at: datetime

    @property
    def available_balance(self) -> Decimal:
        """What may be taken out: the balance less what is held."""
        return self.balance - self.held_balance


class Hold(NamedTuple):
    """Money of a wallet that is reserved, or what became of it.

    `amount` is what was reserved, `captured_amount` what of it was paid out. `metadata` is None where none was given.
    """

    id: str
    wallet_id: str
    amount: Decimal
    captured_amount: Decimal
    status: HoldStatus
    type: HoldType
    reference: str | None
    metadata: str | None
    expires_at: datetime | None
    released_at: datetime | None
    captured_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Book(NamedTuple):
    """What a decision may look at: every wallet and every hold that its command names and that exists, by id.

    `quarantined` says of wallets that take no commands since when that is.
    """

    wallets: Mapping[str, Wallet]
    holds: Mapping[str, Hold]
    quarantined: Mapping[str, datetime] = MappingProxyType({})

"""A wallet as the decisions see it: a value that is never changed in place.

`evolve` makes the next one. Money is `Decimal` with four places; ids are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from worker.contracts.status import WalletStatus

NO_METADATA = "{}"


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet at `version`, which is the revision of the last event in its stream.

    `metadata` is JSON text, kept as it was written. `updated_at` is the last event's time.
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

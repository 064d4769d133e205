"""What a comparison comes to: differences, each in one store, with what was expected there and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

NONE = "none"
"""What stands for something that is not there."""


class Store(StrEnum):
    """Where a difference was found."""

    POSTGRES = "Postgres"
    KURRENTDB = "KurrentDB"
    ELASTICSEARCH = "Elasticsearch"


class Difference(NamedTuple):
    """One thing that is not as the ledger says. `wallet_id` is None for a sum over all wallets."""

    wallet_id: str | None
    store: Store
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Report:
    """A finished comparison: what was compared, in how many seconds, and the differences that stood, by wallet."""

    wallets: int
    events: int
    documents: int
    seconds: float
    differences: tuple[Difference, ...]

    @property
    def is_clean(self) -> bool:
        """Whether all stores agree."""
        return not self.differences


def show(value: object) -> str:
    """A value as a difference shows it."""
    return NONE if value is None else str(value)

"""What a comparison comes to: differences, each in one store, with what was expected there and what was found.

A store that lags has nothing wrong, it only lacks the newest: `wallex verify --repair` makes that up. Everything else
contradicts, and is for a person: whatever wrote it, no repeat of what was committed would have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

NONE = "none"
"""What stands for something that is not there."""


class Store(StrEnum):
    """Where a difference was found."""

    POSTGRES = "Postgres"
    KURRENTDB = "KurrentDB"
    ELASTICSEARCH = "Elasticsearch"


class Kind(StrEnum):
    """What is to be done about a difference: it can be made up from the ledger, or a person has to look."""

    LAGS = "lags"
    CONTRADICTS = "contradicts"


class Difference(NamedTuple):
    """One thing that is not as the ledger says. `wallet_id` is None for what is about no wallet or about all."""

    wallet_id: str | None
    store: Store
    what: str
    expected: str
    found: str
    kind: Kind = Kind.CONTRADICTS


class Repaired(NamedTuple):
    """What a store lacked of a wallet, and has now."""

    wallet_id: str
    store: Store
    what: str


class NotRepaired(NamedTuple):
    """What a store lacks of a wallet still, though a repair was asked for, and why."""

    wallet_id: str
    store: Store | None
    what: str
    why: str


@dataclass(slots=True)
class Repairs:
    """What a repair made up before the last look, and what it left."""

    made: list[Repaired] = field(default_factory=list)
    left: list[NotRepaired] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """A finished comparison: what was compared, in how many seconds, and the differences that stood, by wallet.

    `repairs` is None where nobody asked for them.
    """

    wallets: int
    events: int
    documents: int
    seconds: float
    differences: tuple[Difference, ...]
    repairs: Repairs | None = None

    @property
    def repaired(self) -> tuple[Repaired, ...]:
        """What was made up before the last look."""
        return tuple(self.repairs.made) if self.repairs else ()

    @property
    def not_repaired(self) -> tuple[NotRepaired, ...]:
        """What was to be made up, and could not be."""
        return tuple(self.repairs.left) if self.repairs else ()

    @property
    def is_clean(self) -> bool:
        """Whether all stores agree."""
        return not self.differences

    @property
    def contradictions(self) -> list[Difference]:
        """Those of the differences that no repair touches."""
        return [difference for difference in self.differences if difference.kind is Kind.CONTRADICTS]


def show(value: object) -> str:
    """A value as a difference shows it."""
    return NONE if value is None else str(value)

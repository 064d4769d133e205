"""What each store says when it is asked: something, nothing, or that it cannot say."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from worker.errors import WallexError
from worker.projection.document import UnreadableEvent

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Away:
    """The store does not answer, or not as it should."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The store has something that is not what the contract says."""

    reason: str


async def look(asking: Awaitable[Seen]) -> Seen | Away | Unreadable:
    """What a store answers; that it is away is an answer too, so that it does not hide the others."""
    try:
        return await asking
    except UnreadableEvent as error:
        return Unreadable(str(error))
    except WallexError as error:
        return Away(str(error))

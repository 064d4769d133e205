"""What a fault is: its kind for the schedule, what it does in words, and the function that does and undoes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage


class Missed(Exception):
    """A fault that came and touched nothing: no connection was there to be cut, no worker came to its crash point."""


Happen = Callable[[Stage, Load, Strike], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault, what it does in words, and how it happens: returns once it is over and undone.

    It raises `Missed`, after that, where it befell nobody.
    """

    kind: Kind
    says: str
    happen: Happen

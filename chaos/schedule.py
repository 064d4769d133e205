"""Which faults strike, in which order, on whom and for how long: drawn from a seed, without end, and nothing else.

All kinds are dealt like a pack of cards and then dealt again, so that a long run has each of them several times.
Now and then two strike at once: such as touch different things.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PAUSE_S = (1.0, 4.0)
"""How long all is well before the next fault."""
AT_ONCE = 0.2
"""The chance that two faults strike together."""
EVERYTHING = "everything"
"""What a fault touches that may not meet another one."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault: `targets` are those that it may strike, each of them a card; `touches` is what it disturbs."""

    name: str
    touches: str
    targets: Sequence[str]
    lasts_s: tuple[float, float]


@dataclass(frozen=True)
class Strike:
    """A fault that happens: what, on whom, for how long; `seed` is for what is left to chance while it lasts."""

    kind: str
    target: str
    lasts_s: float
    seed: int


@dataclass(frozen=True)
class Step:
    """A pause in which all is well, then the faults that strike together."""

    pause_s: float
    strikes: tuple[Strike, ...]


def schedule(seed: int, kinds: Sequence[Kind]) -> Iterator[Step]:
    """Every step of the run with this seed; take as many as there is time for."""
    chance = random.Random(seed)
    cards = _deal(chance, kinds)
    waiting = next(cards)
    while True:
        now, waiting = [waiting], next(cards)
        if chance.random() < AT_ONCE and _may_meet(now[0][0], waiting[0]):
            now.append(waiting)
            waiting = next(cards)
        strikes = tuple(
            Strike(kind.name, target, round(chance.uniform(*kind.lasts_s), 1), chance.randrange(2**32))
            for kind, target in now
        )
        yield Step(round(chance.uniform(*PAUSE_S), 1), strikes)


def _deal(chance: random.Random, kinds: Sequence[Kind]) -> Iterator[tuple[Kind, str]]:
    while True:
        pack = [(kind, target) for kind in kinds for target in kind.targets]
        chance.shuffle(pack)
        yield from pack


def _may_meet(one: Kind, other: Kind) -> bool:
    return EVERYTHING not in (one.touches, other.touches) and one.touches != other.touches

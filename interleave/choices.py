"""What the scheduler decides, step by step: drawn from a seed, and remembered; or what was remembered, once more."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """One step: the place of who goes on among those who may, and of the fault among those that may strike it, from 1.

    The first of all with no fault is (0, 0): what a schedule that was cut short goes on with.
    """

    place: int = 0
    fault: int = 0


PLAIN = Choice()


class Choices:
    """Decides by a seed, or as `given` says; `made` is what was decided."""

    def __init__(self, seed: int, given: Sequence[Choice] | None = None) -> None:
        self.random = random.Random(seed)
        self.made: list[Choice] = []
        self._given = given

    def choose(self, weights: Sequence[float], faults: Sequence[int], fault_chance: float) -> Choice:
        """Decide: `weights` are of those who may go on, `faults` how many may strike each of them."""
        step = len(self.made)
        if self._given is not None:
            place, fault = self._given[step] if step < len(self._given) else PLAIN
            place %= len(weights)
            choice = Choice(place, fault if fault <= faults[place] else 0)
        else:
            (place,) = self.random.choices(range(len(weights)), weights)
            struck = faults[place] and self.random.random() < fault_chance
            choice = Choice(place, self.random.randint(1, faults[place]) if struck else 0)
        self.made.append(choice)
        return choice

"""Make a failing scene shorter: fewer records, fewer happenings, fewer choices that are not the plain ones."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from interleave.choices import PLAIN, Choice
from interleave.scene import Result, Spec

RUNS_MAX = 250

Run = Callable[[Spec, Sequence[Choice]], Awaitable[Result]]


class Failing(NamedTuple):
    """A scene that fails, the choices by which it does, and what came of it."""

    spec: Spec
    choices: Sequence[Choice]
    result: Result


async def shrink(run: Run, failing: Failing, records: int) -> Failing:
    """The shortest scene that still fails, as far as `RUNS_MAX` runs tell; `records` is how many the scene has."""
    return await _Shrinker(run, failing, records).shrink()


class _Shrinker:
    def __init__(self, run: Run, failing: Failing, records: int) -> None:
        self._run = run
        self._best = failing
        self._records = records
        self._runs = 0
        self._kinds = _kinds(failing.result)

    async def shrink(self) -> Failing:
        before = None
        while before is not self._best and self._runs < RUNS_MAX:
            before = self._best
            await self._cut()
            await self._leave_out_happenings()
            await self._leave_out_records()
            await self._make_plain()
        return self._best

    async def _fails(self, spec: Spec, choices: Sequence[Choice]) -> bool:
        """Whether this fails as well; then it is the best so far."""
        if self._runs >= RUNS_MAX:
            return False
        self._runs += 1
        result = await self._run(spec, choices)
        fails = bool(self._kinds & _kinds(result))
        if fails:
            self._best = Failing(spec, choices, result)
        return fails

    async def _cut(self) -> None:
        """End the choices as early as possible: what follows is plain."""
        low, high = 0, len(self._best.choices)
        while low < high:
            middle = (low + high) // 2
            if await self._fails(self._best.spec, self._best.choices[:middle]):
                high = middle
            else:
                low = middle + 1

    async def _leave_out_happenings(self) -> None:
        for place in reversed(range(len(self._best.spec.happenings))):
            left = self._best.spec.happenings
            await self._fails(replace(self._best.spec, happenings=left[:place] + left[place + 1 :]), self._best.choices)

    async def _leave_out_records(self) -> None:
        size = self._records // 2
        while size:
            for first in range(0, self._records, size):
                spec = self._best.spec
                left_out = spec.left_out | frozenset(range(first, min(first + size, self._records)))
                if left_out != spec.left_out:
                    await self._fails(replace(spec, left_out=left_out), self._best.choices)
            size //= 2

    async def _make_plain(self) -> None:
        size = max(1, len(self._best.choices) // 2)
        while size:
            for first in range(0, len(self._best.choices), size):
                choices = list(self._best.choices)
                if any(choice != PLAIN for choice in choices[first : first + size]):
                    choices[first : first + size] = [PLAIN] * len(choices[first : first + size])
                    await self._fails(self._best.spec, choices)
            size //= 2


def _kinds(result: Result) -> set[str]:
    """What is wrong, without ids and numbers: another fault is not the one that is looked for."""
    return {re.sub(r"[0-9a-f-]*[0-9][0-9a-f-]*", "", violation.split("{")[0]) for violation in result.violations}

"""One measurement under way: the scene, how much is to be measured, and what has been found so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench.commands import Command
from bench.results import Row, Run, load_row
from bench.scene import Scene


@dataclass
class Measurement:
    """What a part works with.

    `commands` are those of a run, `runs` the runs of each row, `minutes` the length of the steady load; `rows` are the
    rows of the parts before, by name.
    """

    scene: Scene
    commands: int
    runs: int
    minutes: float
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def capacity(self) -> float:
        """The commands a second of the part `uniform`."""
        return self.rows["uniform"].rate

    async def load(self, name: str, what: str, make: Callable[[], Sequence[Command]]) -> Row:
        """Measure some runs of a load; `make` makes the commands of each."""
        return load_row(name, what, await self.repeat(what, lambda: self.scene.run(make())))

    async def repeat(self, what: str, run: Callable[[], Awaitable[Run]]) -> list[Run]:
        """Do `run` as often as each row asks for."""
        runs = []
        for number in range(self.runs):
            self.scene.say(f"{what}: run {number + 1} of {self.runs}")
            runs.append(await run())
        return runs

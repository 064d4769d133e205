"""What is measured: each part runs its load some times on a scene and keeps every run.

A part is a function from a scene to a `Measured`; `PARTS` names them for the command line, in the order they run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median

from bench.load import credits_to, new_ids, openings, transfers
from bench.scene import Run, Scene

CONTENDED_WALLETS = 100
"""So few that any two batches of 500 transfers share nearly all of them."""
APPEND_DELAY_MAX_MS = 50.0
SETTLING_COMMANDS = 5_000


@dataclass(frozen=True)
class Measured:
    """The runs of one part."""

    part: str
    what: str
    runs: list[Run]

    @property
    def rate(self) -> float:
        """Commands a second: the median of the runs."""
        return median(run.rate for run in self.runs)

    @property
    def catch_up_seconds(self) -> float:
        """From the last reply until Elasticsearch had everything: the median of the runs."""
        return median(run.catch_up_seconds for run in self.runs)

    def cpu_us(self) -> Mapping[str, float]:
        """CPU microseconds a command, by process: the median of the runs for each."""
        names = self.runs[0].cpu_seconds
        return {name: median(run.cpu_seconds[name] / run.commands * 1e6 for run in self.runs) for name in names}


Part = Callable[[Scene, int, int], Awaitable[list[Measured]]]


async def measure_transfers(scene: Scene, count: int, runs: int) -> list[Measured]:
    """Measure transfers between all wallets."""
    what = f"transfers between {len(scene.wallets):,} wallets"
    results = []
    for number in range(runs):
        scene.say(f"{what}: run {number + 1} of {runs}")
        results.append(await scene.run(transfers(count, scene.wallets, scene.chance)))
    return [Measured("transfers", what, results)]


async def measure_credits(scene: Scene, count: int, runs: int) -> list[Measured]:
    """Measure credits to one wallet, another one in each run."""
    what = "credits to one wallet"
    results = []
    for number, wallet in enumerate(new_ids(runs, scene.chance)):
        scene.say(f"{what}: run {number + 1} of {runs}")
        await scene.run(openings([wallet], scene.chance))
        results.append(await scene.run(credits_to(count, wallet, scene.chance)))
    return [Measured("credits", what, results)]


async def measure_contention(scene: Scene, count: int, runs: int) -> list[Measured]:
    """Measure two workers whose transfers share all wallets: as it is, and with appends that overtake each other.

    The stand-in delays each append by chance; what one worker appends then often comes before what the other one,
    earlier in Postgres, has yet to append. The ratio of the two rates says what that costs.
    """
    wallets = scene.wallets[:CONTENDED_WALLETS]
    what = f"two workers, transfers between {CONTENDED_WALLETS} wallets"
    delayed_what = f"the same, appends delayed by 0 to {APPEND_DELAY_MAX_MS:.0f} ms"
    plain, delayed = [], []
    async with scene.another_worker():
        # Whoever takes over partitions begins with small batches.
        await scene.run(transfers(SETTLING_COMMANDS, wallets, scene.chance))
        for number in range(runs):
            scene.say(f"{what}: run {number + 1} of {runs}")
            plain.append(await scene.run(transfers(count, wallets, scene.chance)))
            scene.say(f"{delayed_what}: run {number + 1} of {runs}")
            scene.set_faults(append_delay_max_ms=APPEND_DELAY_MAX_MS)
            delayed.append(await scene.run(transfers(count, wallets, scene.chance)))
            scene.set_faults(append_delay_max_ms=0.0)
    return [Measured("contention", what, plain), Measured("contention-delayed", delayed_what, delayed)]


PARTS: Mapping[str, Part] = {
    "transfers": measure_transfers,
    "credits": measure_credits,
    "contention": measure_contention,
}

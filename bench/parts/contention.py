"""Two workers whose transfers share all wallets: as it is, and with appends that overtake each other.

The stand-in delays each append by chance; what one worker appends then often comes before what the other one, earlier
in Postgres, has yet to append. The ratio of the two rates says what that costs.
"""

from __future__ import annotations

from bench.commands import Command, transfers
from bench.measurement import Measurement
from bench.results import Row, load_row

WALLETS = 100
"""So few that any two batches of 500 transfers share nearly all of them."""
APPEND_DELAY_MAX_MS = 50.0


async def measure_contention(measurement: Measurement) -> list[Row]:
    """Measure both in turns, a run of each."""
    scene = measurement.scene
    wallets = scene.wallets[:WALLETS]
    what = f"two workers, transfers among {WALLETS} wallets"
    delayed_what = f"the same, appends delayed by up to {APPEND_DELAY_MAX_MS:.0f} ms"
    plain, delayed = [], []

    def commands() -> list[Command]:
        return transfers(measurement.commands // 2, wallets, scene.chance)

    await scene.replace_workers(None, None)
    await scene.settle()
    for number in range(measurement.runs):
        scene.say(f"{what}: run {number + 1} of {measurement.runs}")
        plain.append(await scene.run(commands()))
        scene.say(f"{delayed_what}: run {number + 1} of {measurement.runs}")
        with scene.faults.set(append_delay_max_ms=APPEND_DELAY_MAX_MS):
            delayed.append(await scene.run(commands()))
    return [load_row("contention", what, plain), load_row("contention_delayed", delayed_what, delayed)]

"""The most memory that each of Wallex's processes has taken by now, and whether it stays the same under a steady load.

After all other parts these are peaks of everything that was measured. Called alone, of a uniform load and a hot one.
"""

from __future__ import annotations

import time

from bench.cpu import memory_mb
from bench.measurement import Measurement
from bench.open_loop import OpenLoop
from bench.processes import SCHEDULER, WORKER
from bench.results import Row
from bench.steady import open_loop_on, run_open_loop, steady_transfers

SHARE = 50
"""Percent of the capacity that the steady load is."""
STRETCH_S = 10.0
WARM = 10
"""The first of so many parts of the steady load is for warming up: from its end on the memory is compared."""


async def measure_memory(measurement: Measurement) -> list[Row]:
    """Read the peaks; before, if minutes are asked for, keep up a steady load for so long."""
    processes = measurement.scene.processes
    processes.start(SCHEDULER)
    steady = [await _steady(measurement)] if measurement.minutes else []
    peaks = processes.peaks_mb()
    processes.stop(SCHEDULER)
    return [Row(f"memory_{kind}", f"peak memory of the {kind}", {"mb": peak}) for kind, peak in peaks.items()] + steady


async def _steady(measurement: Measurement) -> Row:
    """The worker's memory at the end of a steady load, against what it was after the first tenth of it."""
    scene, minutes = measurement.scene, measurement.minutes
    found = []
    began = time.monotonic()
    async with open_loop_on(scene) as loop:
        while (passed := time.monotonic() - began) < minutes * 60:
            scene.say(f"steady load, {passed / 60:.0f} of {minutes:.0f} minutes")
            await _stretch(measurement, loop)
            (worker,) = scene.processes.running[WORKER]
            found.append(memory_mb(worker.pid))
    first, last = found[len(found) // WARM], found[-1]
    what = f"worker after {minutes:g} minutes at {SHARE} % of capacity"
    return Row("memory_steady", what, {"minutes": minutes, "warm_mb": first, "mb": last, "growth": last / first})


async def _stretch(measurement: Measurement, loop: OpenLoop) -> None:
    scene, rate = measurement.scene, measurement.capacity * SHARE / 100
    await run_open_loop(scene, loop, steady_transfers(scene, round(rate * STRETCH_S), rate))

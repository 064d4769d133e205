"""From the start of a worker's process to its first reply: what a restart costs the one who waits."""

from __future__ import annotations

import asyncio
import time

from bench.commands import transfers
from bench.cpu import cpu_seconds
from bench.load import Timing
from bench.measurement import Measurement
from bench.processes import WORKER
from bench.results import Row, Run, median_of
from bench.scene import Scene


async def measure_start(measurement: Measurement) -> list[Row]:
    """Start the worker on a topic where one command waits; the servers run and have no other work."""
    scene, what = measurement.scene, "process start to first reply"
    scene.replaced = True
    cpu: list[float] = []

    async def run() -> Run:
        started = await _start(scene)
        cpu.append(cpu_seconds(scene.processes.pids())[WORKER])
        return started

    runs = await measurement.repeat(what, run)
    figures = {
        "first_reply_s": median_of(runs, lambda run: run.seconds),
        "lowest": min(run.seconds for run in runs),
        "highest": max(run.seconds for run in runs),
        "worker_cpu_s": median_of(cpu, float),
    }
    return [Row("start", what, figures)]


async def _start(scene: Scene) -> Run:
    """A run of one command, whose time begins where the process is started."""
    await asyncio.to_thread(scene.processes.stop, WORKER)
    commands = transfers(1, scene.wallets, scene.chance)

    async def drive() -> Timing:
        began = time.perf_counter()
        starting = asyncio.create_task(asyncio.to_thread(scene.processes.start, WORKER))
        timing = await scene.load.run(commands)
        seconds = time.perf_counter() - began
        await starting
        return Timing(seconds, timing.cpu_seconds)

    return await scene.measure(commands, drive)

"""Open loops on a scene: transfers among its wallets at a given rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.commands import transfers
from bench.load import Timing
from bench.open_loop import Due, Latencies, OpenLoop, arrivals, open_open_loop
from bench.results import Run
from bench.scene import Scene


@asynccontextmanager
async def open_loop_on(scene: Scene) -> AsyncIterator[OpenLoop]:
    """An open loop on the scene's servers."""
    settings = scene.settings
    kafka, elasticsearch = settings.kafka_bootstrap_servers, settings.elasticsearch_url.get_secret_value()
    async with open_open_loop(kafka, elasticsearch) as loop:
        yield loop


def steady_transfers(scene: Scene, count: int, rate: float) -> list[Due]:
    """`count` transfers that come at `rate` a second."""
    times, commands = arrivals(count, rate, scene.chance), transfers(count, scene.wallets, scene.chance)
    return [Due(at, command) for at, command in zip(times, commands, strict=True)]


async def run_open_loop(scene: Scene, loop: OpenLoop, schedule: list[Due]) -> tuple[Run, Latencies]:
    """One run of `loop`, accounted for like any other."""
    found: list[Latencies] = []

    async def drive() -> Timing:
        timing, latencies = await loop.run(schedule)
        found.append(latencies)
        return timing

    run = await scene.measure([due.command for due in schedule], drive)
    return run, found[0]

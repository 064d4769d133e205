"""Closed loads: all commands are published at once, so the worker always has a backlog. What it can carry."""

from __future__ import annotations

from bench.commands import credits_to, holds, transfers, twice, zipf_transfers
from bench.measurement import Measurement
from bench.results import Row, Run, load_row


async def measure_uniform(measurement: Measurement) -> list[Row]:
    """Transfers between all wallets, each as often as any other."""
    scene, count = measurement.scene, measurement.commands
    what = f"transfers among {len(scene.wallets):,} wallets"
    return [await measurement.load("uniform", what, lambda: transfers(count, scene.wallets, scene.chance))]


async def measure_zipf(measurement: Measurement) -> list[Row]:
    """Transfers between all wallets, few of them busy and most of them not."""
    scene, count = measurement.scene, measurement.commands
    what = f"transfers among {len(scene.wallets):,} wallets by Zipf's law"
    return [await measurement.load("zipf", what, lambda: zipf_transfers(count, scene.wallets, scene.chance))]


async def measure_hot(measurement: Measurement) -> list[Row]:
    """Credits to one wallet, another one in each run."""
    scene, count = measurement.scene, measurement.commands
    what = "credits to one wallet"

    async def run() -> Run:
        wallets = await scene.open_wallets(1)
        return await scene.run(credits_to(count, wallets, scene.chance))

    return [load_row("hot", what, await measurement.repeat(what, run))]


async def measure_holds(measurement: Measurement) -> list[Row]:
    """Holds among all wallets: placed, then captured or released."""
    scene, count = measurement.scene, measurement.commands
    what = "holds: place, then capture or release"
    return [await measurement.load("holds", what, lambda: holds(count, scene.wallets, scene.chance))]


async def measure_duplicates(measurement: Measurement) -> list[Row]:
    """Transfers of which each is sent twice; the rate is that of delivered records."""
    scene, count = measurement.scene, measurement.commands // 2
    what = "every transfer twice, a delivered record"
    return [await measurement.load("duplicates", what, lambda: twice(transfers(count, scene.wallets, scene.chance)))]

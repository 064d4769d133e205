"""The baseline (`bench/baseline/`) in the worker's place: the same servers, commands, streams and replies."""

from __future__ import annotations

from bench.baseline import baseline_command
from bench.commands import credits_to, transfers
from bench.measurement import Measurement
from bench.results import Row, Run, load_row

SHARE = 20
"""A run has one in so many of the usual commands: it takes about as long."""
WARM_UP = 3
"""Before it is measured, it does one in so many of the commands of a run."""


async def measure_baseline(measurement: Measurement) -> list[Row]:
    """Measure transfers among all wallets, and credits to one."""
    scene, count = measurement.scene, max(1, measurement.commands // SHARE)
    await scene.replace_workers(baseline_command())
    await scene.run(transfers(max(1, count // WARM_UP), scene.wallets, scene.chance))
    what = f"baseline, transfers among {len(scene.wallets):,} wallets"
    uniform = await measurement.load("baseline_uniform", what, lambda: transfers(count, scene.wallets, scene.chance))
    hot_what = "baseline, credits to one wallet"

    async def run() -> Run:
        wallets = await scene.open_wallets(1)
        return await scene.run(credits_to(count, wallets, scene.chance))

    return [uniform, load_row("baseline_hot", hot_what, await measurement.repeat(hot_what, run))]

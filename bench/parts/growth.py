"""Postgres alone, in an empty database and in one full of other wallets and their history (`bench/growth.py`)."""

from __future__ import annotations

from bench import growth
from bench.measurement import Measurement
from bench.parts.floor import floor_row
from bench.results import Row

OTHERS_A_COMMAND = 50
"""A short trial fills the database with fewer others."""


async def measure_growth(measurement: Measurement) -> list[Row]:
    """Measure both in turns; filling takes far longer than measuring."""
    scene, count = measurement.scene, measurement.commands
    wallets = min(growth.OTHER_WALLETS, count * OTHERS_A_COMMAND)
    pid = scene.stack.pid("postgres")
    found = await growth.measure_growth(
        scene.settings, pid, count=count, runs=measurement.runs, wallets=wallets, say=scene.say
    )
    what = (
        f"Postgres alone beside {found.wallets:,} wallets, {found.entries:,} entries, {found.size_bytes / 1e9:.1f} GB"
    )
    return [
        floor_row("growth_empty", "Postgres alone, empty database", found.empty),
        floor_row("growth_grown", what, found.grown),
    ]

"""Postgres alone with the rows of a transfer: a bound for all batches, and one for each design without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bench.floor import Floor, one_at_a_time, prepared_batches
from bench.measurement import Measurement
from bench.results import RATE, Row, median_of

CONNECTIONS = (1, 16)
SHARE = 4
"""One at a time, a run has one in so many of the usual commands."""


async def measure_floor(measurement: Measurement) -> list[Row]:
    """Measure prepared batches, and one transfer a transaction; the worker has nothing to do meanwhile."""
    scene, count = measurement.scene, measurement.commands
    pid = scene.stack.pid("postgres")
    rows = [await _row(measurement, "floor_batches", lambda: prepared_batches(scene.settings, count, pid))]
    for connections in CONNECTIONS:

        def one_each(connections: int = connections) -> Awaitable[Floor]:
            return one_at_a_time(scene.settings, count // SHARE, connections, pid)

        rows.append(await _row(measurement, f"floor_one_at_a_time_{connections}", one_each))
    return rows


async def _row(measurement: Measurement, name: str, run: Callable[[], Awaitable[Floor]]) -> Row:
    found = []
    for number in range(measurement.runs):
        measurement.scene.say(f"Postgres alone, {name}: run {number + 1} of {measurement.runs}")
        found.append(await run())
    return floor_row(name, f"Postgres alone: {found[0].what}", found)


def floor_row(name: str, what: str, found: Sequence[Floor]) -> Row:
    """The row of some runs on Postgres alone."""
    rates = [floor.rate for floor in found]
    figures = {
        RATE: median_of(rates, float),
        "lowest": min(rates),
        "highest": max(rates),
        "in_postgres_us": median_of(found, lambda floor: floor.active_us),
    }
    cpu_us = {
        "Postgres": median_of(found, lambda floor: floor.postgres_cpu_us),
        "load": median_of(found, lambda floor: floor.client_cpu_us),
    }
    return Row(name, what, figures, cpu_us)

"""Other workers than the one: two and four of them at once, and one on an event store without `AppendRecords`."""

from __future__ import annotations

from collections.abc import Callable

from bench.commands import Command, transfers
from bench.measurement import Measurement
from bench.results import Row

COUNTS = (1, 2, 4)
SHARE = 2
"""A run has one in so many of the usual commands."""


async def measure_scale(measurement: Measurement) -> list[Row]:
    """Transfers among all wallets with 1, 2 and 4 worker processes in one group."""
    scene, rows = measurement.scene, []
    for count in COUNTS:
        what = f"{count} worker process{'es' if count > 1 else ''}"
        await scene.replace_workers(*[None] * count)
        await scene.settle()
        rows.append(await measurement.load(f"workers_{count}", what, _transfers(measurement)))
    return rows


async def measure_append(measurement: Measurement) -> list[Row]:
    """Transfers with one append call a batch, and with one a stream, as an older server asks for."""
    scene = measurement.scene
    one_call = await measurement.load("append_records", "one append call a batch", _transfers(measurement))
    with scene.faults.set(append_records=False):
        # Whether the server has the call is found out once, so the worker must be a new one.
        await scene.replace_workers()
        await scene.settle()
        what = "an append call a stream"
        a_stream = await measurement.load("append_to_stream", what, _transfers(measurement))
    return [one_call, a_stream]


def _transfers(measurement: Measurement) -> Callable[[], list[Command]]:
    scene = measurement.scene
    return lambda: transfers(measurement.commands // SHARE, scene.wallets, scene.chance)

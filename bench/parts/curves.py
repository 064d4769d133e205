"""What the worker's constants do: the rate by batch size, batches in flight and partitions, one changed at a time.

The worker of each point is started anew (`bench/worker.py`), and so is the topic for each number of partitions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from bench.commands import transfers
from bench.load import COMMAND_TOPIC, open_load
from bench.measurement import Measurement
from bench.results import Row, load_row

SIZES = (50, 200, 500, 1000, 2000)
DEPTHS = (0, 1, 2, 4)
PARTITIONS = (1, 4, 12, 24)
SHARE = 4
"""A run of a point has one in so many of the usual commands: there are many points."""


async def measure_curves(measurement: Measurement) -> list[Row]:
    """Measure all points of the three curves."""
    rows = [await _point(measurement, "batch", size, f"batches of up to {size}") for size in SIZES]
    rows += [await _point(measurement, "depth", depth, f"batches between stages: {depth}") for depth in DEPTHS]
    for partitions in PARTITIONS:
        topic = f"wallet.commands.of-{partitions}"
        environment = {"COMMAND_TOPICS": topic, "KAFKA_GROUP_ID": topic}
        what = f"partitions: {partitions}"
        rows.append(await _point(measurement, "partitions", partitions, what, topic=topic, environment=environment))
    return rows


async def _point(
    measurement: Measurement,
    constant: str,
    value: int,
    what: str,
    *,
    topic: str = COMMAND_TOPIC,
    environment: Mapping[str, str] | None = None,
) -> Row:
    """One point: the rate with `constant` at `value`, of which `bench.worker` has an option."""
    scene = measurement.scene
    worker = (sys.executable, "-m", "bench.worker", f"--{constant}", str(value))
    await scene.replace_workers(worker, **(environment or {}))
    async with open_load(scene.settings.kafka_bootstrap_servers, topic) as load:
        await scene.settle(load)
        count = measurement.commands // SHARE
        runs = await measurement.repeat(what, lambda: scene.run(transfers(count, scene.wallets, scene.chance), load))
    return replace(load_row(f"{constant}_{value}", what, runs), chosen={constant: value})

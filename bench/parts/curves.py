"""What the worker's constants do: the rate by batch size, batches in flight and partitions, one changed at a time.

The worker of each point is started anew (`bench/worker.py`), and so is the topic for each number of partitions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.commands import transfers
from bench.load import COMMAND_TOPIC, open_load
from bench.measurement import Measurement
from bench.results import Row, load_row
from worker.contracts.topics import PARTITIONS
from worker.inbox.partitions import BATCH_RECORDS_MAX

SHARE = 4
"""A run of a point has one in so many of the usual commands: there are many points."""


@dataclass(frozen=True)
class Point:
    """A worker with `constant`, an option of `bench.worker`, at `value`; `times` as in `Scene.settle`."""

    constant: str
    value: int
    what: str
    times: int = 1
    topic: str = COMMAND_TOPIC
    environment: Mapping[str, str] = field(default_factory=dict)


def _batch(size: int) -> Point:
    return Point("batch", size, f"batches of up to {size}", max(1, size // BATCH_RECORDS_MAX))


def _depth(batches: int) -> Point:
    return Point("depth", batches, f"batches between stages: {batches}")


def _partitions(count: int) -> Point:
    topic = f"wallet.commands.of-{count}"
    environment = {"COMMAND_TOPICS": topic, "KAFKA_GROUP_ID": topic}
    return Point("partitions", count, f"partitions: {count}", max(1, count // PARTITIONS), topic, environment)


POINTS = (
    *map(_batch, (50, 200, 500, 1000, 2000)),
    *map(_depth, (0, 1, 2, 4)),
    *map(_partitions, (1, 4, 12, 24)),
)


async def measure_curves(measurement: Measurement) -> list[Row]:
    """Measure all points of the three curves."""
    return [await _measure(measurement, point) for point in POINTS]


async def _measure(measurement: Measurement, point: Point) -> Row:
    scene, count = measurement.scene, measurement.commands // SHARE
    worker = (sys.executable, "-m", "bench.worker", f"--{point.constant}", str(point.value))
    await scene.replace_workers(worker, **point.environment)
    async with open_load(scene.settings.kafka_bootstrap_servers, point.topic) as load:
        await scene.settle(load, point.times)
        runs = await measurement.repeat(
            point.what, lambda: scene.run(transfers(count, scene.wallets, scene.chance), load)
        )
    row = load_row(f"{point.constant}_{point.value}", point.what, runs)
    return replace(row, chosen={point.constant: point.value})

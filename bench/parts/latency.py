"""How long one waits, at a quarter, a half and three quarters of what the worker can carry.

From when a command was due: to its reply, and until a search in Elasticsearch sees its effect. Percentiles of each run,
and of those the medians of the runs.
"""

from __future__ import annotations

from dataclasses import replace

from bench.commands import credits_to
from bench.measurement import Measurement
from bench.open_loop import Due, Latencies, OpenLoop
from bench.results import BEHIND, Row, Run, load_row, median_of, percentile
from bench.scene import Scene
from bench.steady import open_loop_on, run_open_loop, steady_transfers
from bench.visibility import Probe

SHARES = (25, 50, 75)
"""Percent of the capacity."""
PROBE_WALLETS = 200
PROBE_EVERY = 20
"""One command in so many is a probe: a credit to a wallet of which only probes know."""
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}


async def measure_latency(measurement: Measurement) -> list[Row]:
    """Measure each share of the capacity that the part `uniform` found, for as long as one of its runs took."""
    scene = measurement.scene
    probes = dict.fromkeys(await scene.open_wallets(PROBE_WALLETS), 0)
    async with open_loop_on(scene) as loop:
        return [await _measure(measurement, loop, share, probes) for share in SHARES]


async def _measure(measurement: Measurement, loop: OpenLoop, share: int, probes: dict[str, int]) -> Row:
    scene, what = measurement.scene, f"open loop at {share} % of capacity"
    count, rate = measurement.commands * share // 100, measurement.capacity * share / 100
    found: list[Latencies] = []

    async def run() -> Run:
        measured, latencies = await run_open_loop(scene, loop, make_schedule(scene, count, rate, probes))
        found.append(latencies)
        return measured

    return _row(f"latency_{share}", what, await measurement.repeat(what, run), found)


def make_schedule(scene: Scene, count: int, rate: float, probes: dict[str, int]) -> list[Due]:
    """Transfers and probes at `rate` commands a second; `probes` are the versions of their wallets, brought on."""
    wallets = list(probes)
    schedule = steady_transfers(scene, count, rate)
    credits_ = credits_to(len(schedule[::PROBE_EVERY]), wallets, scene.chance)
    for number, credit in zip(range(0, count, PROBE_EVERY), credits_, strict=True):
        wallet, at = credit.key.decode(), schedule[number].at
        probes[wallet] += 1
        schedule[number] = Due(at, credit, Probe(at, wallet, probes[wallet]))
    return schedule


def _row(name: str, what: str, runs: list[Run], found: list[Latencies]) -> Row:
    row = load_row(name, what, runs, **_percentiles(found))
    # A run ends when all probes are visible: behind that there is nothing to wait for.
    figures = {figure: value for figure, value in row.figures.items() if figure != BEHIND}
    return replace(row, figures=figures)


def _percentiles(found: list[Latencies]) -> dict[str, float]:
    """In milliseconds."""
    reply = {
        f"reply_{name}_ms": median_of(found, lambda run, share=share: percentile(run.reply_s, share) * 1000)
        for name, share in PERCENTILES.items()
    }
    visible = {
        f"visible_{name}_ms": median_of(found, lambda run, share=share: percentile(run.visible_s, share) * 1000)
        for name, share in PERCENTILES.items()
    }
    return {**reply, **visible}

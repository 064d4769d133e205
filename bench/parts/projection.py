"""The projector: how fast it follows and rebuilds, and up to which rate of commands Elasticsearch keeps up.

It keeps up where it has everything `KEEPS_UP_S` after the last reply of an open loop that lasted for seconds.
"""

from __future__ import annotations

import asyncio
import re
import time

from bench.commands import transfers
from bench.measurement import Measurement
from bench.open_loop import OpenLoop
from bench.results import Row, median_of
from bench.scene import CATCH_UP_POLL_S, Scene, SceneError
from bench.steady import open_loop_on, run_open_loop, steady_transfers
from devstack.wallex import run_wallex

KEEPS_UP_S = 1.0
"""As soon as a search sees it, by Elasticsearch's own default."""
SHARES = range(40, 101, 10)
"""Percent of the capacity that are tried, from the lowest on, until one is too much."""
SHARE = 2
"""A run has one in so many of the usual commands: each rebuild reads the events of all."""
REBUILT = re.compile(r"rebuilt from ([\d,]+) events in ([\d.]+) s \(([\d,]+) events/s")


async def measure_projection(measurement: Measurement) -> list[Row]:
    """Measure all three."""
    return [await _follow(measurement), await _rebuild(measurement), await _keep_up(measurement)]


async def _follow(measurement: Measurement) -> Row:
    """Let events pile up without a projector, then let one read them, with nothing else to do for anybody."""
    scene, rates = measurement.scene, []
    for number in range(measurement.runs):
        scene.say(f"projection, follow: run {number + 1} of {measurement.runs}")
        async with scene.without_projector():
            await scene.run(transfers(measurement.commands // SHARE, scene.wallets, scene.chance))
        rates.append(await _events_per_s(scene))
    return _rates("follow", "projector follows, events", rates)


async def _events_per_s(scene: Scene) -> float:
    """The rate from the first time that some events are read until all are."""
    while not (first := await scene.projected()):  # noqa: ASYNC110 - another process sends no event to wait for
        await asyncio.sleep(CATCH_UP_POLL_S)
    began = time.perf_counter()
    left = scene.events - first
    await scene.wait_for_projector()
    return left / (time.perf_counter() - began)


async def _rebuild(measurement: Measurement) -> Row:
    """Build the read model anew from all events that there are, while nothing else happens."""
    scene, following, whole = measurement.scene, [], []
    for number in range(measurement.runs):
        scene.say(f"projection, rebuild: run {number + 1} of {measurement.runs}")
        code, output = await asyncio.to_thread(run_wallex, ["projection", "rebuild"], scene.processes.environment)
        found = REBUILT.search(output)
        if code or found is None:
            raise SceneError(f"`wallex projection rebuild` ended with {code}:\n{output}")
        events, seconds, rate = (float(figure.replace(",", "")) for figure in found.groups())
        following.append(rate)
        whole.append(events / seconds)
    # One that knows from its start which events it has to read.
    async with scene.without_projector():
        scene.say("starting the projector anew")
    row = _rates("rebuild", "rebuild from the start, events", following)
    figures = {**row.figures, "events": events, "with_comparison_per_s": median_of(whole, float)}
    return Row(row.name, row.what, figures)


def _rates(name: str, what: str, rates: list[float]) -> Row:
    figures = {"per_s": median_of(rates, float), "lowest": min(rates), "highest": max(rates)}
    return Row(name, what, figures)


async def _keep_up(measurement: Measurement) -> Row:
    scene, rates = measurement.scene, []
    async with open_loop_on(scene) as loop:
        for number in range(measurement.runs):
            scene.say(f"projection, keeping up: run {number + 1} of {measurement.runs}")
            rates.append(await _highest_rate(measurement, loop))
    return _rates("keeping_up", "Elasticsearch keeps up, commands", rates)


async def _highest_rate(measurement: Measurement, loop: OpenLoop) -> float:
    """The highest of the rates tried at which the projector keeps up; 0 where it is the lowest that is too much."""
    scene, highest = measurement.scene, 0.0
    for share in SHARES:
        rate, count = measurement.capacity * share / 100, measurement.commands * share // 100 // SHARE
        run, _ = await run_open_loop(scene, loop, steady_transfers(scene, count, rate))
        if run.catch_up_seconds > KEEPS_UP_S:
            break
        highest = run.rate
    return highest

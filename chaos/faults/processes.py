"""What befalls Wallex's own processes: killed, frozen, stopped, killed at a named point, joining and leaving."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

from chaos.faults.fault import Fault, Missed
from chaos.load import Load
from chaos.schedule import EVERYTHING, Kind, Strike
from chaos.stage import SCHEDULERS, WORKERS, Stage

SILENT_S = (17.0, 21.0)
"""Longer than a member's session lasts in Kafka (15 s)."""
JOIN_S = 30.0
STAYS_S = (0.2, 2.0)
"""How long a guest stays once it has partitions."""
CRASH_S = 30.0
"""How long a worker may take to come to its crash point; one without work never does."""
CRASH_POINTS = ("lock", "persist", "commit", "append", "reply", "offset_commit")


async def kill(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGKILL; started again afterwards. Of several, named with `+`, all at once."""
    names = strike.target.split("+")
    for name in names:
        stage.take(name).kill()
    await asyncio.sleep(strike.lasts_s)
    for name in names:
        stage.start(name)


async def freeze(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGSTOP, and later SIGCONT."""
    process = stage.processes[strike.target]
    process.pause()
    try:
        await asyncio.sleep(strike.lasts_s)
    finally:
        process.go_on()


async def stop(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGTERM; started again afterwards."""
    await stage.stop(strike.target)
    await asyncio.sleep(strike.lasts_s)
    stage.start(strike.target)


def _crash_at(point: str) -> Fault:
    """Replace a worker by one that kills itself at the named point; started again afterwards."""

    async def happen(stage: Stage, _load: Load, strike: Strike) -> None:
        stage.take(strike.target).kill()
        stage.start(strike.target, WALLEX_CRASH_POINT=point)
        crashing = stage.take(strike.target)
        ends_at = time.monotonic() + CRASH_S
        while crashing.code is None and time.monotonic() < ends_at:  # noqa: ASYNC110 - another process ends
            await asyncio.sleep(0.1)
        has_crashed = crashing.code is not None
        if not has_crashed:
            crashing.kill()
        await asyncio.sleep(strike.lasts_s)
        stage.start(strike.target)
        if not has_crashed:
            raise Missed

    kind = Kind(f"crash at {point}", "workers", WORKERS[:1], (0.5, 2.0))
    return Fault(kind, f"SIGKILL at its crash point `{point}`", happen)


async def storm(stage: Stage, _load: Load, strike: Strike) -> None:
    """Workers join the group and leave it, politely or not, one after another."""
    chance, over_at = random.Random(strike.seed), time.monotonic() + strike.lasts_s
    has_joined = False
    while time.monotonic() < over_at:
        guest = stage.start("worker-guest")
        joined_by = time.monotonic() + JOIN_S
        while not guest.lines("partitions_assigned") and time.monotonic() < joined_by:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        has_joined = has_joined or bool(guest.lines("partitions_assigned"))
        await asyncio.sleep(chance.uniform(*STAYS_S))
        if chance.random() < 0.5:
            stage.take("worker-guest").kill()
        else:
            await stage.stop("worker-guest")
    if not has_joined:
        raise Missed


async def second(stage: Stage, _load: Load, strike: Strike) -> None:
    """A second projector writes the same documents beside the first, as in a rolling update that overlaps."""
    guest = stage.start(strike.target)
    await asyncio.sleep(strike.lasts_s)
    follows = bool(guest.lines("projection_following"))
    await stage.stop(strike.target)
    if not follows:
        raise Missed


_TWO = tuple(f"{one}+{other}" for one, other in pairwise(WORKERS))

FAULTS = (
    Fault(Kind("kill a worker", "workers", WORKERS, (0.5, 3.0)), "SIGKILL, started again", kill),
    Fault(Kind("kill two workers", "workers", _TWO, (0.5, 3.0)), "SIGKILL, started again", kill),
    Fault(Kind("freeze a worker", "workers", WORKERS, SILENT_S), "SIGSTOP for longer than its session", freeze),
    Fault(Kind("stop a worker", "workers", WORKERS, (0.5, 3.0)), "SIGTERM, started again", stop),
    *(_crash_at(point) for point in CRASH_POINTS),
    Fault(Kind("rebalance storm", EVERYTHING, ("worker-guest",), (12.0, 18.0)), "a worker joins and leaves", storm),
    Fault(Kind("kill the projector", "projector", ("projector",), (0.5, 5.0)), "SIGKILL, started again", kill),
    Fault(Kind("freeze the projector", "projector", ("projector",), (3.0, 8.0)), "SIGSTOP, SIGCONT", freeze),
    Fault(
        Kind("a second projector", "projector", ("projector-guest",), (8.0, 14.0)),
        "writes the same beside the first",
        second,
    ),
    Fault(Kind("kill a scheduler", "schedulers", SCHEDULERS, (0.5, 5.0)), "SIGKILL, started again", kill),
)

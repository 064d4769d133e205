"""Run scenes in several processes on the same servers, and make the first one that fails shorter."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import NamedTuple

from interleave.gates import Gates
from interleave.kurrentdb import KurrentDB
from interleave.loop import VirtualLoop
from interleave.postgres import Postgres
from interleave.scene import Stage, count_records, draw
from interleave.shrink import Failing, shrink
from worker.settings import Settings
from worker.telemetry.logs import configure_logs

SCENES_AT_ONCE = 20
SESSIONS = 6


class Found(NamedTuple):
    """A seed that fails: what was wrong, whether it ran again alike, and its shortest scene that is known."""

    seed: int
    violations: Sequence[str]
    is_repeatable: bool
    shortest: Failing


class _Process:
    """What a process keeps from one call to the next."""

    def __init__(self, environment: dict[str, str]) -> None:
        configure_logs("CRITICAL")
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        settings = Settings.load(environment)
        gates = Gates(self.loop)
        postgres = Postgres(gates, settings)
        kurrentdb = KurrentDB(gates, settings.kurrentdb_uri.get_secret_value())

        async def connect() -> None:
            with gates.outside():
                await postgres.open(SESSIONS)
                await kurrentdb.open()

        self.loop.run_until_complete(connect())
        self.stage = Stage(gates, postgres, kurrentdb)


_process: _Process | None = None


def _open(environment: dict[str, str]) -> None:
    global _process  # noqa: PLW0603 - the pool gives a process no other place
    _process = _Process(environment)


def _run(seeds: Sequence[int], shortens: bool) -> tuple[Sequence[int], Found | None]:
    """Run these seeds up to the first that fails; return those that ran, and what was found."""
    assert _process is not None
    stage, loop = _process.stage, _process.loop
    for place, seed in enumerate(seeds):
        result = loop.run_until_complete(stage.run(draw(seed)))
        if result.violations:
            again = loop.run_until_complete(stage.run(draw(seed)))
            failing = Failing(draw(seed), result.choices, result)
            if shortens:
                failing = loop.run_until_complete(shrink(stage.run, failing, count_records(draw(seed))))
            return seeds[: place + 1], Found(seed, result.violations, again.trace == result.trace, failing)
    return seeds, None


def explore(
    environment: dict[str, str], seeds: Sequence[int], *, processes: int, shortens: bool
) -> Iterator[tuple[int, Found | None]]:
    """Run `seeds`: after each few of them, how many ran, and the one that failed. Ends behind the first that does.

    `shortens`: that one is made shorter.
    """
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_open, initargs=(environment,)
    ) as pool:
        chunks = (seeds[first : first + SCENES_AT_ONCE] for first in range(0, len(seeds), SCENES_AT_ONCE))
        running: set[Future[tuple[Sequence[int], Found | None]]] = set()
        while True:
            running |= {pool.submit(_run, chunk, shortens) for chunk in islice(chunks, 2 * processes - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for ran, found in (future.result() for future in done):
                yield len(ran), found
                if found is not None:
                    pool.shutdown(cancel_futures=True)
                    return

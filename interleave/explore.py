"""Run scenes in several processes on the same servers, and make the first one that fails shorter."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, Self

from interleave.choices import Choice
from interleave.gates import Gates
from interleave.kurrentdb import KurrentDB
from interleave.loop import VirtualLoop
from interleave.postgres import Postgres
from interleave.scene import Result, Spec, Stage, count_records, draw
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


class Process:
    """A loop and connections of its own to the servers that `environment` names, for scenes one after another."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._loop = VirtualLoop()
        settings = Settings.load(environment)
        self._gates = Gates(self._loop)
        self._postgres = Postgres(self._gates, settings)
        self._kurrentdb = KurrentDB(self._gates, settings.kurrentdb_uri.get_secret_value())
        self._stage = Stage(self._gates, self._postgres, self._kurrentdb)

    def __enter__(self) -> Self:
        self._do(lambda: self._postgres.open(SESSIONS))
        self._do(self._kurrentdb.open)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._postgres.close)
        self._do(self._kurrentdb.close)
        self._loop.close()

    def run(self, spec: Spec, choices: Sequence[Choice] | None = None) -> Result:
        """Run a scene, as it is drawn or by the choices that are given."""
        return self._loop.run_until_complete(self._stage.run(spec, choices))

    def shrink(self, failing: Failing) -> Failing:
        """Make a scene that fails shorter."""
        shorter = shrink(self._stage.run, failing, count_records(failing.spec))
        return self._loop.run_until_complete(shorter)

    def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def do() -> None:
            with self._gates.outside():
                await work()

        self._loop.run_until_complete(do())


_process: Process | None = None


def _open(environment: dict[str, str]) -> None:
    global _process  # noqa: PLW0603 - the pool gives a process no other place
    configure_logs("CRITICAL")
    _process = Process(environment).__enter__()


def _run(seeds: Sequence[int], shortens: bool) -> tuple[Sequence[int], Found | None]:
    """Run these seeds up to the first that fails; return those that ran, and what was found."""
    assert _process is not None
    for place, seed in enumerate(seeds):
        result = _process.run(draw(seed))
        if result.violations:
            again = _process.run(draw(seed))
            failing = Failing(draw(seed), result.choices, result)
            if shortens:
                failing = _process.shrink(failing)
            return seeds[: place + 1], Found(seed, result.violations, again.trace == result.trace, failing)
    return seeds, None


@contextmanager
def _ended_with_us() -> Iterator[None]:
    """End the pool's processes at once where this one is interrupted, instead of waiting for their scenes."""
    try:
        yield
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def explore(
    environment: dict[str, str], seeds: Sequence[int], *, processes: int, shortens: bool
) -> Iterator[tuple[int, Found | None]]:
    """Run `seeds`: after each few of them, how many ran, and the one that failed. Ends behind the first that does.

    `shortens`: that one is made shorter.
    """
    with (
        ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), initializer=_open, initargs=(environment,)
        ) as pool,
        _ended_with_us(),
    ):
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

"""Where a measurement takes place: a stack of its own, a worker, the projector, wallets, everything warm.

All of it is new for each measurement and shares the machine's cores. The data lies in the project's folder, not in the
system's temporary one, which may be memory: there `fsync` would cost nothing, and the figures would say nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpu import Pids, cpu_seconds, used
from bench.load import Command, Load, LoadError, open_load, openings, transfers
from devstack.ports import free_port
from devstack.server import HOST
from devstack.stack import Stack
from devstack.wallex import WallexProcess, run_wallex

FOLDER = Path(__file__).parents[1] / ".devstack-bench"
WALLETS = 10_000
WARM_UP_COMMANDS = 5_000
SERVERS = {
    "Postgres": "postgres",
    "Kafka": "kafka",
    "KurrentDB stand-in": "kurrentdb",
    "Elasticsearch": "elasticsearch",
}
LOAD = "load"
EVENTS_METRIC = "wallex_projection_events_total"
CATCH_UP_S = 120.0
CATCH_UP_POLL_S = 0.1


class SceneError(Exception):
    """The scene is not as a measurement needs it."""


@dataclass(frozen=True)
class Run:
    """What one run took: seconds to the last reply, seconds from there until Elasticsearch had all, CPU seconds."""

    commands: int
    seconds: float
    catch_up_seconds: float
    cpu_seconds: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Commands a second, from the first publish to the last reply."""
        return self.commands / self.seconds


@dataclass
class Scene:
    """A running stack with what is on it. `say` is told what happens."""

    stack: Stack
    environment: Mapping[str, str]
    load: Load
    workers: list[WallexProcess]
    projector: WallexProcess
    faults_url: str
    chance: random.Random
    say: Callable[[str], None]
    wallets: list[str] = field(default_factory=list)
    events: int = 0

    async def run(self, commands: Sequence[Command]) -> Run:
        """Send `commands`, wait for the replies and then for the projector, and account for it all."""
        before = cpu_seconds(self._pids())
        try:
            timing = await self.load.run(commands)
        except LoadError:
            self._check()
            raise
        replied = time.perf_counter()
        self.events += sum(command.events for command in commands)
        await self._wait_for_projector()
        caught_up = time.perf_counter() - replied
        cpu = {**used(before, cpu_seconds(self._pids())), LOAD: timing.cpu_seconds}
        return Run(len(commands), timing.seconds, caught_up, cpu)

    @asynccontextmanager
    async def another_worker(self) -> AsyncIterator[None]:
        """Let a second worker share the partitions inside the block."""
        with WallexProcess("worker", self.environment, self.stack.folder / "worker-2.log") as worker:
            self.workers.append(worker)
            await asyncio.to_thread(worker.wait_ready)
            yield
            self.workers.remove(worker)

    def set_faults(self, **switches: float) -> None:
        """Set switches of the stand-in (`devstack/kurrentdb/faults.py`)."""
        body = json.dumps(switches).encode()
        with urllib.request.urlopen(urllib.request.Request(self.faults_url, body, method="PUT")):
            return

    def _pids(self) -> Pids:
        servers = {label: (self.stack.pid(name),) for label, name in SERVERS.items()}
        lost = [label for label, pids in servers.items() if None in pids]
        if lost:
            raise SceneError(f"no longer running: {', '.join(lost)}; see the logs in {self.stack.folder}")
        self._check()
        workers = tuple(worker.pid for worker in self.workers)
        return {"worker": workers, "projector": (self.projector.pid,), **servers}

    def _check(self) -> None:
        """Raise where a process of ours has ended."""
        for process in (*self.workers, self.projector):
            process.check()

    async def _wait_for_projector(self) -> None:
        deadline = time.monotonic() + CATCH_UP_S
        while await asyncio.to_thread(self.projector.metric, EVENTS_METRIC) < self.events:
            self._check()
            if time.monotonic() > deadline:
                raise SceneError(f"the projector is not there after {CATCH_UP_S:.0f} s; see {self.projector.log}")
            await asyncio.sleep(CATCH_UP_POLL_S)


@asynccontextmanager
async def open_scene(say: Callable[[str], None], seed: int = 1) -> AsyncIterator[Scene]:
    """Bring everything up, open and warm `WALLETS` wallets; stop everything behind the block."""
    control = free_port()
    stack = Stack(FOLDER, kurrentdb_options=("--control-port", str(control)))
    # What a killed measurement left behind.
    stack.down()
    shutil.rmtree(FOLDER)
    try:
        say("starting the servers")
        stack.up()
        environment = {**stack.environment(), "LOG_LEVEL": "INFO"}
        code, output = run_wallex(["migrate", "run"], environment)
        if code:
            raise SceneError(f"the migrations failed:\n{output}")
        say("starting worker and projector")
        with (
            WallexProcess("worker", environment, FOLDER / "worker.log") as worker,
            WallexProcess("projector", environment, FOLDER / "projector.log") as projector,
        ):
            worker.wait_ready()
            projector.wait_ready()
            async with open_load(environment["KAFKA_BOOTSTRAP_SERVERS"]) as load:
                faults_url = f"http://{HOST}:{control}/faults"
                scene = Scene(stack, environment, load, [worker], projector, faults_url, random.Random(seed), say)
                await _warm_up(scene)
                yield scene
    finally:
        stack.down()


async def _warm_up(scene: Scene) -> None:
    """Open the wallets, then let each process do its usual work for a while: the Java servers get faster with it."""
    scene.say(f"opening {WALLETS:,} wallets, and warming up")
    ids = [f"{scene.chance.getrandbits(32):08x}-0000-4000-8000-{number:012x}" for number in range(WALLETS)]
    await scene.run(openings(ids, scene.chance))
    scene.wallets = ids
    await scene.run(transfers(WARM_UP_COMMANDS, ids, scene.chance))

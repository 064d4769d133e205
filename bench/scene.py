"""Where a measurement takes place: a stack of its own, a worker, the projector, wallets, everything warm.

All of it is new for each measurement and shares the machine's cores. The data lies in the project's folder, not in the
system's temporary one, which may be memory: there `fsync` would cost nothing, and the figures would say nothing.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.commands import Command, new_ids, openings, transfers
from bench.cpu import Pids, cpu_seconds, used
from bench.load import Load, LoadError, Timing, open_load
from bench.postgres import active_seconds
from bench.processes import PROJECTOR, WORKER, Processes
from bench.results import Run
from bench.stand_in import FaultSwitches
from devstack.java import THOROUGH
from devstack.ports import free_port
from devstack.server import HOST
from devstack.stack import Stack
from devstack.wallex import run_wallex
from worker.settings import Settings

FOLDER = Path(__file__).parents[1] / ".devstack-bench"
WALLETS = 10_000
SETTLING_COMMANDS = 8_000
"""Enough for batches to grow to 500 commands on each of 12 partitions after a worker took them over."""
WARM_UP_TIMES = 40
"""So many times as many commands, and what Java's thorough compiler saves the servers outweighs what it costs them."""
SERVERS = {
    "Postgres": "postgres",
    "Kafka": "kafka",
    "stand-in": "kurrentdb",
    "Elasticsearch": "elasticsearch",
}
LOAD = "load"
EVENTS_METRIC = "wallex_projection_events_total"
CATCH_UP_S = 300.0
CATCH_UP_POLL_S = 0.1

Say = Callable[[str], None]


class SceneError(Exception):
    """The scene is not as a measurement needs it."""


@dataclass
class Scene:
    """A running stack with what is on it.

    `settling` is how many commands settle a worker; `events` are those that the projector, as it runs now, has to read;
    `replaced` says whether other workers run than the usual one.
    """

    stack: Stack
    settings: Settings
    load: Load
    processes: Processes
    faults: FaultSwitches
    chance: random.Random
    say: Say
    settling: int
    wallets: list[str] = field(default_factory=list)
    events: int = 0
    replaced: bool = False

    async def run(self, commands: Sequence[Command], load: Load | None = None) -> Run:
        """Send `commands` at once, wait for the replies and then for the projector, and account for it all.

        `load` is another one than the usual, for other topics.
        """
        return await self.measure(commands, lambda: (load or self.load).run(commands))

    async def measure(self, commands: Sequence[Command], drive: Callable[[], Awaitable[Timing]]) -> Run:
        """Let `drive` send `commands` and collect the replies, wait for the projector, and account for it all."""
        before, postgres_before = cpu_seconds(self._pids()), await active_seconds(self.settings)
        try:
            timing = await drive()
        except LoadError:
            self.processes.check()
            raise
        replied = time.perf_counter()
        # A command that is sent twice makes its events once.
        self.events += sum(events for _, events in {(command.id, command.events) for command in commands})
        await self.wait_for_projector()
        caught_up = time.perf_counter() - replied
        cpu = {**used(before, cpu_seconds(self._pids())), LOAD: timing.cpu_seconds}
        postgres = await active_seconds(self.settings) - postgres_before
        return Run(len(commands), timing.seconds, caught_up, postgres, cpu)

    async def settle(self, load: Load | None = None, times: int = 1) -> None:
        """Let workers that were started just now come to their usual way of working.

        `times`: their batches grow so many times as large as usual, or on so many times as many partitions.
        """
        await self.run(transfers(self.settling * times, self.wallets, self.chance), load)

    async def open_wallets(self, count: int) -> list[str]:
        """Open `count` wallets that nothing else uses."""
        wallets = new_ids(count, self.chance)
        await self.run(openings(wallets, self.chance))
        return wallets

    async def wait_for_projector(self) -> None:
        """Wait until the projector has read all events, if there is one."""
        deadline = time.monotonic() + CATCH_UP_S
        while PROJECTOR in self.processes.running and await self.projected() < self.events:
            self.processes.check()
            if time.monotonic() > deadline:
                raise SceneError(f"the projector is not there after {CATCH_UP_S:.0f} s; see the logs in {FOLDER}")
            await asyncio.sleep(CATCH_UP_POLL_S)

    async def projected(self) -> float:
        """How many events the projector has read since it was started."""
        (projector,) = self.processes.running[PROJECTOR]
        return await asyncio.to_thread(projector.metric, EVENTS_METRIC)

    @asynccontextmanager
    async def without_projector(self) -> AsyncIterator[None]:
        """Stop the projector for the block; behind it another one begins with what it has missed, and is ready."""
        await self.wait_for_projector()
        await asyncio.to_thread(self.processes.stop, PROJECTOR)
        self.events = 0
        try:
            yield
        finally:
            await asyncio.to_thread(self.processes.start, PROJECTOR)

    async def replace_workers(self, *command_lines: Sequence[str] | None, **environment: str) -> None:
        """Let other workers take the place of those there are: one for each of `command_lines`, not settled yet.

        None of them stands for `wallex worker`. `environment` is theirs besides the usual one.
        """
        self.replaced = True
        await asyncio.to_thread(self.processes.stop, WORKER)
        await asyncio.to_thread(self.processes.start, WORKER, *command_lines, **environment)

    async def restore(self) -> None:
        """Bring the usual worker back, settled, where others have taken its place."""
        if self.replaced:
            await self.replace_workers()
            await self.settle()
            self.replaced = False

    def _pids(self) -> Pids:
        servers = {label: (self.stack.pid(name),) for label, name in SERVERS.items()}
        lost = [label for label, pids in servers.items() if None in pids]
        if lost:
            raise SceneError(f"no longer running: {', '.join(lost)}; see the logs in {self.stack.folder}")
        self.processes.check()
        return {**self.processes.pids(), **servers}


@asynccontextmanager
async def open_scene(say: Say, seed: int, settling: int) -> AsyncIterator[Scene]:
    """Bring everything up, open and warm `WALLETS` wallets; stop everything behind the block.

    `settling` commands settle a worker: fewer than `SETTLING_COMMANDS` where a trial must be short.
    """
    control = free_port()
    stack = Stack(FOLDER, kurrentdb_options=("--control-port", str(control)), java_options=(THOROUGH,))
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
        with Processes(environment, FOLDER) as processes:
            processes.start(WORKER)
            processes.start(PROJECTOR)
            async with open_load(environment["KAFKA_BOOTSTRAP_SERVERS"]) as load:
                faults = FaultSwitches(f"http://{HOST}:{control}/faults")
                settings = Settings.load(environment)
                scene = Scene(stack, settings, load, processes, faults, random.Random(seed), say, settling)
                say(f"opening {WALLETS:,} wallets, and warming up")
                scene.wallets = await scene.open_wallets(WALLETS)
                await scene.settle(times=WARM_UP_TIMES)
                yield scene
    finally:
        stack.down()

"""Where it happens: a stack of the run's own, a proxy before each server, and Wallex's processes behind the proxies.

Whatever a fault did to a process, the stage is what starts it again. A process that ends by itself, without a fault
that ended it, is a violation: it is noted and started again, as a supervisor would.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.stand_in import FaultSwitches
from devstack.ports import free_port
from devstack.server import HOST
from devstack.stack import Stack
from tests.support.proxy import FaultProxy
from tests.support.workers import WALLEX_WORKER, Worker
from tests.support.world import World, open_world

SERVERS = ("postgres", "kafka", "kurrentdb", "elasticsearch", "redis")
WORKERS = ("worker-a", "worker-b", "worker-c")
SCHEDULERS = ("scheduler-a", "scheduler-b")
PROCESSES = (*WORKERS, "projector", *SCHEDULERS)
PARTITIONS = 6
WATCH_S = 0.5
END_S = 60.0
"""How long a process may take to end politely: it answers what is in flight first."""


@dataclass
class Stage:
    """Everything that runs. `processes` are those that must run now; `violations` is what went wrong so far."""

    stack: Stack
    world: World
    proxies: dict[str, FaultProxy]
    switches: FaultSwitches
    processes: dict[str, Worker] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    partitions: int = PARTITIONS
    """Of the command topic; they may grow."""
    offset_checks: int = 0
    """How often the committed offsets were held against the replies."""

    def start(self, name: str, **environment: str) -> Worker:
        """Start the process of that name: what it is, and which of them."""
        command = (WALLEX_WORKER[0], name.partition("-")[0])
        # One of them joins the group as a stranger each time, the others under names of their own: both are usual.
        member = {"KAFKA_GROUP_INSTANCE_ID": ""} if name not in WORKERS[:2] else {}
        told = {**self._through_proxies(), **member, **environment}
        self.processes[name] = self.world.start(name, command=command, **told)
        return self.processes[name]

    def take(self, name: str) -> Worker:
        """Take a process off the stage: from now on it may end."""
        return self.processes.pop(name)

    async def stop(self, name: str) -> None:
        """Ask a process to end, which it must do with exit code 0, unless it has said nothing yet.

        One that is still being loaded by Python ends at once: it has begun nothing.
        """
        process = self.take(name)
        has_begun = process.log.stat().st_size > 0
        code = await process.stop(END_S)
        if code != 0 and (has_begun or code != -signal.SIGTERM):
            self.violations.append(f"{name} was asked to stop and ended with exit code {code}; see {process.log}")

    async def watch(self) -> None:
        """Look after the processes, for ever."""
        while True:
            for name, process in list(self.processes.items()):
                if process.code is not None:
                    self.violations.append(f"{name} ended by itself with exit code {process.code}; see {process.log}")
                    self.start(name)
            await asyncio.sleep(WATCH_S)

    async def committed(self) -> dict[int, int]:
        """How far the group has committed each partition of the command topic."""
        found = await self.world.admin.list_consumer_group_offsets(self.world.group)
        return {id_.partition: one.offset for id_, one in found.items() if id_.topic == self.world.command_topic}

    async def is_drained(self) -> bool:
        """Whether every record of the command topic is committed."""
        committed = await self.committed()
        return all(committed.get(partition, 0) == end for partition, end in (await self.world.ends()).items())

    def _through_proxies(self) -> dict[str, str]:
        """Where the processes find the servers: behind the proxies. (Kafka says so itself.)"""
        at = {name: f"{HOST}:{proxy.port}" for name, proxy in self.proxies.items()}
        return {
            "DB_PORT": str(self.proxies["postgres"].port),
            "KURRENTDB_URI": f"esdb://{at['kurrentdb']}?Tls=false",
            "ELASTICSEARCH_URL": f"http://{at['elasticsearch']}",
            "REDIS_URL": f"redis://{at['redis']}{urlsplit(self.world.environment['REDIS_URL']).path}",
        }


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    """Start everything, with its data in `folder`; stop everything behind the block, and leave the logs there."""
    control, advertised = free_port(), free_port()
    stack = Stack(folder, kafka_advertised_port=advertised, kurrentdb_options=("--control-port", str(control)))
    async with AsyncExitStack() as resources:
        resources.push_async_callback(asyncio.to_thread, stack.down)
        await asyncio.to_thread(stack.up)
        proxies = await _open_proxies(resources, stack, {"kafka": advertised})
        logs = folder / "logs"
        logs.mkdir()
        world = await resources.enter_async_context(open_world(stack.environment(), logs, PARTITIONS))
        stage = Stage(stack, world, proxies, FaultSwitches(f"http://{HOST}:{control}/faults"))
        for name in PROCESSES:
            stage.start(name)
        yield stage


async def _open_proxies(resources: AsyncExitStack, stack: Stack, ports: Mapping[str, int]) -> dict[str, FaultProxy]:
    """A proxy before each server; `ports` are those that a client learns from the server itself."""
    return {
        name: await resources.enter_async_context(FaultProxy(HOST, stack.port(name), port=ports.get(name, 0)))
        for name in SERVERS
    }

"""What befalls the five servers: killed, frozen, restarted."""

from __future__ import annotations

import asyncio

import psutil

from chaos.faults.fault import Fault, Happen
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import SERVERS, Stage

GRACE_S = 5.0
"""Less than a stack gives a server to stop."""


async def kill(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGKILL; started again afterwards."""
    await asyncio.to_thread(stage.stack.kill, strike.target)
    await asyncio.sleep(strike.lasts_s)
    await asyncio.to_thread(stage.stack.up, [strike.target])


async def freeze(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGSTOP to the server and all that it started, and later SIGCONT."""
    server = psutil.Process(stage.stack.pid(strike.target))
    server.suspend()
    frozen = [server, *server.children(recursive=True)]
    for process in frozen[1:]:
        _signal(process, psutil.Process.suspend)
    try:
        await asyncio.sleep(strike.lasts_s)
    finally:
        for process in frozen:
            _signal(process, psutil.Process.resume)


async def restart(stage: Stage, _load: Load, strike: Strike) -> None:
    """Stopped cleanly; started again afterwards."""
    await asyncio.to_thread(stage.stack.down, [strike.target])
    await asyncio.sleep(strike.lasts_s)
    await asyncio.to_thread(stage.stack.up, [strike.target])


async def linger(stage: Stage, load: Load, strike: Strike) -> None:
    """Told to stop, the stand-in goes on for a while, then cuts every call, as KurrentDB does; started again."""
    with stage.switches.set(sigterm_grace_s=GRACE_S):
        await restart(stage, load, strike)


def _signal(process: psutil.Process, send: Happen) -> None:
    try:
        send(process)
    except psutil.NoSuchProcess:
        # A backend that ended in between.
        return


def _each(name: str, lasts_s: tuple[float, float], says: str, happen: Happen) -> list[Fault]:
    return [Fault(Kind(f"{name} {server}", server, (server,), lasts_s), says, happen) for server in SERVERS]


FAULTS = (
    *_each("kill", (0.5, 6.0), "SIGKILL, started again", kill),
    *_each("freeze", (3.0, 14.0), "SIGSTOP, SIGCONT", freeze),
    *_each("restart", (0.5, 4.0), "stopped, started again", restart),
    Fault(
        Kind("lingering stop of kurrentdb", "kurrentdb", ("kurrentdb",), (0.5, 2.0)),
        "goes on after SIGTERM, then cuts every call",
        linger,
    ),
)

"""What befalls the five servers: killed, frozen, restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil

from chaos.faults.fault import Fault, Happen
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import SERVERS, Stage

GRACE_S, NOT_READY_S = 30.0, 20.0
"""How long a leader of KurrentDB goes on after SIGTERM, and says after its start that it is not ready."""


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


async def start_not_ready(stage: Stage, _load: Load, strike: Strike) -> None:
    """SIGKILL; started again, the stand-in answers for a while that it is not ready."""
    await asyncio.to_thread(stage.stack.kill, strike.target)
    await asyncio.to_thread(stage.stack.up, [strike.target])
    with stage.switches.set(not_ready_s=strike.lasts_s):
        await asyncio.sleep(strike.lasts_s)


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> None:
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
        f"goes on for {GRACE_S:.0f} s after SIGTERM, then cuts every call",
        linger,
    ),
    Fault(
        Kind("not ready after a start of kurrentdb", "kurrentdb", ("kurrentdb",), (NOT_READY_S, NOT_READY_S)),
        "SIGKILL, started again, `Server Is Not Ready`",
        start_not_ready,
    ),
)

"""What befalls the leases: a Redis that forgets everything all the time, one that grants every lock to everybody."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage
from devstack.server import HOST

EVERY_S = 0.05
NUMBERS = frozenset({b"EVALSHA", b"EVAL", b"INCR", b"DEL", b"PEXPIRE"})
"""Commands that are answered with a number: 1 says that it was done."""


async def flush(stage: Stage, _load: Load, strike: Strike) -> None:
    """FLUSHALL every 50 ms."""
    over_at = time.monotonic() + strike.lasts_s
    async with Redis.from_url(stage.world.environment["REDIS_URL"]) as client:
        while time.monotonic() < over_at:
            await client.flushall()
            await asyncio.sleep(EVERY_S)


async def grant_everything(stage: Stage, _load: Load, strike: Strike) -> None:
    """In Redis's place somebody answers who says yes to all."""
    proxy = stage.proxies["redis"]
    await proxy.__aexit__(None, None, None)
    try:
        liar = await asyncio.start_server(_agree, HOST, proxy.port)
        async with liar:
            await asyncio.sleep(strike.lasts_s)
            liar.close()
    finally:
        await proxy.__aenter__()


async def _agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each command of a connection with yes."""
    try:
        while header := await reader.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            writer.write(b":1\r\n" if words[0].upper() in NUMBERS else b"+OK\r\n")
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


FAULTS = (
    Fault(Kind("flushed redis", "redis", ("redis",), (4.0, 8.0)), "FLUSHALL every 50 ms", flush),
    Fault(Kind("lying redis", "redis", ("redis",), (6.0, 10.0)), "grants every lock to everybody", grant_everything),
)

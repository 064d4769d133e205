"""What befalls the leases: a Redis that forgets everything all the time, one that grants every lock to everybody."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage
from tests.support.lying_redis import lying_redis

EVERY_S = 0.05


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
        async with lying_redis(proxy.port):
            await asyncio.sleep(strike.lasts_s)
    finally:
        await proxy.__aenter__()


FAULTS = (
    Fault(Kind("flushed redis", "redis", ("redis",), (4.0, 8.0)), "FLUSHALL every 50 ms", flush),
    Fault(Kind("lying redis", "redis", ("redis",), (6.0, 10.0)), "grants every lock to everybody", grant_everything),
)

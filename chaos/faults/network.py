"""What befalls the connections between Wallex and each server: slow, deaf, cut."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from chaos.faults.fault import Fault, Missed
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import SERVERS, Stage
from tests.support.proxy import FaultProxy

LATENCY_S = (0.02, 0.15)
BYTES_TO_LIVE = (1.5, 5.0)
"""As powers of ten: between Wallex and Redis there is little to be reset in."""
CUT_EVERY_S = (0.3, 1.5)


def _proxied(name: str, says: str, do: Callable[[FaultProxy, random.Random], None]) -> list[Fault]:
    """A fault that is switched on for a while, on the way to each server."""

    async def happen(stage: Stage, _load: Load, strike: Strike) -> None:
        proxy = stage.proxies[strike.target]
        resets = proxy.resets
        do(proxy, random.Random(strike.seed))
        try:
            await asyncio.sleep(strike.lasts_s)
        finally:
            proxy.heal()
        # Connections that lost bytes are reset by `heal`; those that were only slow live on.
        if proxy.resets == resets and not (do is _slow and proxy.connections):
            raise Missed

    return [Fault(_kind(f"{name} {server}", server), says, happen) for server in SERVERS]


def _kind(name: str, server: str) -> Kind:
    return Kind(name, server, (server,), (4.0, 12.0))


def _slow(proxy: FaultProxy, chance: random.Random) -> None:
    proxy.latency_s = chance.uniform(*LATENCY_S)


async def cut(stage: Stage, _load: Load, strike: Strike) -> None:
    """Every connection is reset, again and again."""
    chance, over_at = random.Random(strike.seed), time.monotonic() + strike.lasts_s
    proxy = stage.proxies[strike.target]
    resets = proxy.resets
    while time.monotonic() < over_at:
        proxy.cut()
        await asyncio.sleep(chance.uniform(*CUT_EVERY_S))
    if proxy.resets == resets:
        raise Missed


async def drop_commits(stage: Stage, _load: Load, strike: Strike) -> None:
    """Postgres commits, and its answer never comes."""
    proxy = stage.proxies["postgres"]
    dropped = proxy.answers_dropped
    proxy.drop_answer_to(b"COMMIT", every=5)
    try:
        await asyncio.sleep(strike.lasts_s)
    finally:
        proxy.heal()
    if proxy.answers_dropped == dropped:
        raise Missed


FAULTS = (
    *_proxied("slow way to", "20 to 150 ms more in each direction", _slow),
    *_proxied("questions lost to", "what is sent to it vanishes", lambda proxy, _: proxy.black_hole("server")),
    *_proxied("answers lost from", "what it sends vanishes", lambda proxy, _: proxy.black_hole("client")),
    *_proxied(
        "resets on the way to",
        "each connection is reset after some bytes",
        lambda proxy, chance: proxy.reset_after(round(10 ** chance.uniform(*BYTES_TO_LIVE))),
    ),
    *(Fault(_kind(f"cuts on the way to {server}", server), "all connections are reset", cut) for server in SERVERS),
    Fault(_kind("answers to COMMIT lost", "postgres"), "it commits, and nobody hears of it", drop_commits),
)

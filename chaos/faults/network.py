"""What befalls the connections between Wallex and each server: slow, deaf, cut."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        # Connections that lost bytes are reset by `heal`.
        with _must_grow(lambda: proxy.resets):
            do(proxy, random.Random(strike.seed))
            await _last(proxy, strike)

    return [Fault(_kind(f"{name} {server}", server), says, happen) for server in SERVERS]


def _kind(name: str, server: str) -> Kind:
    return Kind(name, server, (server,), (4.0, 12.0))


async def _last(proxy: FaultProxy, strike: Strike) -> None:
    """Let what is switched on last, then heal."""
    try:
        await asyncio.sleep(strike.lasts_s)
    finally:
        proxy.heal()


@contextmanager
def _must_grow(count: Callable[[], int]) -> Iterator[None]:
    """Raise `Missed` where `count` is behind the block what it was before."""
    before = count()
    yield
    if count() == before:
        raise Missed


async def slow_down(stage: Stage, _load: Load, strike: Strike) -> None:
    """Each direction takes longer."""
    proxy = stage.proxies[strike.target]
    proxy.latency_s = random.Random(strike.seed).uniform(*LATENCY_S)
    await _last(proxy, strike)
    if not proxy.connections:
        raise Missed


async def cut(stage: Stage, _load: Load, strike: Strike) -> None:
    """Every connection is reset, again and again."""
    chance, over_at = random.Random(strike.seed), time.monotonic() + strike.lasts_s
    proxy = stage.proxies[strike.target]
    with _must_grow(lambda: proxy.resets):
        while time.monotonic() < over_at:
            proxy.cut()
            await asyncio.sleep(chance.uniform(*CUT_EVERY_S))


async def drop_commits(stage: Stage, _load: Load, strike: Strike) -> None:
    """Postgres commits, and its answer never comes."""
    proxy = stage.proxies["postgres"]
    with _must_grow(lambda: proxy.answers_dropped):
        proxy.drop_answer_to(b"COMMIT", every=5)
        await _last(proxy, strike)


FAULTS = (
    *(
        Fault(_kind(f"slow way to {server}", server), "20 to 150 ms more in each direction", slow_down)
        for server in SERVERS
    ),
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

"""`/livez`, `/readyz` and `/metrics` over HTTP, on a port of the process's own.

`/livez` asks whether the process itself works (a dead loop: restart it), `/readyz` whether it can do its job now. A
dependency that is down belongs into `/readyz` alone: restarting everyone would only add a rebalance to the trouble. A
check passes if it returns, and fails if it raises or takes longer than `CHECK_TIMEOUT_S`. The server shares the
process's event loop, so a loop that is stuck answers nothing, which a probe takes for a failure, rightly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from worker.settings import SettingsError

HTTP_HOST = "0.0.0.0"  # noqa: S104 -- probes and scrapers come from outside; nothing here shows a command or a wallet
CHECK_TIMEOUT_S = 1.0
FAILURE_CHARACTERS_MAX = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """A named question; `ask` returns if all is well, and raises with the reason if not."""

    name: str
    ask: Callable[[], Awaitable[object]]


@asynccontextmanager
async def serve_health(
    *, port: int, registry: CollectorRegistry, live: Sequence[Check] = (), ready: Sequence[Check] = ()
) -> AsyncIterator[int]:
    """Serve the three pages inside the block, and give the port; 0 takes any free one. `SettingsError`: it is taken."""
    runner = web.AppRunner(_pages(registry, live, ready), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HTTP_HOST, port).start()
        except OSError as error:
            raise SettingsError(f"HTTP_PORT={port}: {error.strerror}; expected a free port, or 0 for any") from error
        bound = int(runner.addresses[0][1])
        log.info("health_listening", port=bound)
        yield bound
    finally:
        await runner.cleanup()


def _pages(registry: CollectorRegistry, live: Sequence[Check], ready: Sequence[Check]) -> web.Application:
    async def livez(_request: web.Request) -> web.Response:
        return await _answer(live)

    async def readyz(_request: web.Request) -> web.Response:
        return await _answer(ready)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    pages = web.Application()
    pages.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return pages


async def _answer(checks: Sequence[Check]) -> web.Response:
    """200 or 503, with each check's name and "ok" or what is wrong."""
    outcomes = await asyncio.gather(*(_ask(check) for check in checks), return_exceptions=True)
    results = {check.name: _describe(outcome) for check, outcome in zip(checks, outcomes, strict=True)}
    failing = [name for name, result in results.items() if result != "ok"]
    return web.json_response({"failing": failing, "checks": results}, status=503 if failing else 200)


async def _ask(check: Check) -> None:
    async with asyncio.timeout(CHECK_TIMEOUT_S):
        await check.ask()


def _describe(outcome: BaseException | None) -> str:
    if outcome is None:
        return "ok"
    if isinstance(outcome, TimeoutError):
        return f"no answer within {CHECK_TIMEOUT_S} s"
    return f"{type(outcome).__name__}: {outcome}"[:FAILURE_CHARACTERS_MAX]

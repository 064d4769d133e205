"""`/livez`, `/readyz` and `/metrics` over HTTP, on a port of the process's own.

`/livez` asks whether the process itself works (a dead loop: restart it), `/readyz` whether it can do its job now. A
dependency that is down belongs into `/readyz` alone: restarting everyone would only add a rebalance to the trouble. A
check passes if it returns, and fails if it raises or takes longer than `CHECK_TIMEOUT_S`. The checks run once for all
who ask within `ANSWER_KEPT_S`: however many ask, the servers behind the checks are asked once a second. The HTTP server
shares the process's event loop, so a loop that is stuck answers nothing, which a probe takes for a failure, rightly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from worker.settings import HTTP_HOST, SettingsError

CHECK_TIMEOUT_S = 1.0
ANSWER_KEPT_S = 1.0
REQUESTS_MAX = 100
"""So many requests are served at once; further ones are refused with 503. `/livez` is never refused."""
FAILURE_CHARACTERS_MAX = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """A named question; `ask` returns if all is well, and raises with the reason if not."""

    name: str
    ask: Callable[[], Awaitable[object]]


@asynccontextmanager
async def serve_health(
    *,
    port: int,
    registry: CollectorRegistry,
    host: str = HTTP_HOST,
    live: Sequence[Check] = (),
    ready: Sequence[Check] = (),
) -> AsyncIterator[int]:
    """Serve the three pages on `host` inside the block, and give the port; 0 takes any free one.

    Raises `SettingsError` where the port is taken, or the host is not this machine's.
    """
    runner = web.AppRunner(_pages(registry, live, ready), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}; expected an address of this machine, and a free "
                "port or 0 for any"
            ) from error
        bound = int(runner.addresses[0][1])
        log.info("health_listening", port=bound)
        yield bound
    finally:
        await runner.cleanup()


def _pages(registry: CollectorRegistry, live: Sequence[Check], ready: Sequence[Check]) -> web.Application:
    livez, readyz = _Page(live), _Page(ready)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    pages = web.Application(middlewares=[_refuse_too_many()])
    pages.add_routes([web.get("/livez", livez.answer), web.get("/readyz", readyz.answer), web.get("/metrics", metrics)])
    return pages


class _Page:
    """A page that says what became of `checks`: one answer for all who ask within `ANSWER_KEPT_S`."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._asked_at = 0.0

    async def answer(self, _request: web.Request) -> web.Response:
        """200 or 503, with each check's name and "ok" or what is wrong."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= ANSWER_KEPT_S):
            self._asking, self._asked_at = asyncio.create_task(_ask_all(self._checks)), now
        # Shielded: others wait for the same answer.
        results = await asyncio.shield(self._asking)
        failing = [name for name, result in results.items() if result != "ok"]
        return web.json_response({"failing": failing, "checks": results}, status=503 if failing else 200)


def _refuse_too_many() -> Middleware:
    served = 0

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal served
        if served >= REQUESTS_MAX and request.path != "/livez":
            raise web.HTTPServiceUnavailable(text=f"more than {REQUESTS_MAX} requests at once: ask again later")
        served += 1
        try:
            return await handler(request)
        finally:
            served -= 1

    return refuse


async def _ask_all(checks: Sequence[Check]) -> dict[str, str]:
    outcomes = await asyncio.gather(*(_ask(check) for check in checks), return_exceptions=True)
    return {check.name: _describe(outcome) for check, outcome in zip(checks, outcomes, strict=True)}


async def _ask(check: Check) -> None:
    async with asyncio.timeout(CHECK_TIMEOUT_S):
        await check.ask()


def _describe(outcome: BaseException | None) -> str:
    if outcome is None:
        return "ok"
    if isinstance(outcome, TimeoutError):
        return f"no answer within {CHECK_TIMEOUT_S} s"
    return f"{type(outcome).__name__}: {outcome}"[:FAILURE_CHARACTERS_MAX]

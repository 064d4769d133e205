"""The side port: `GET /faults` shows the switches, `PUT /faults` with a JSON object sets those that it names."""

from __future__ import annotations

import json
import logging

from aiohttp import web

from devstack.kurrentdb.faults import Faults

logger = logging.getLogger(__name__)


async def start_control(faults: Faults, host: str, port: int) -> web.AppRunner:
    """Serve the switches on `host`:`port`; close it with the runner's `cleanup`."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(faults.as_dict())

    async def change(request: web.Request) -> web.Response:
        try:
            changes = await request.json()
            if not isinstance(changes, dict):
                raise ValueError('send a JSON object such as {"fsync_delay_ms": 50}')
            faults.change(changes)
        except ValueError as error:  # json.JSONDecodeError is one too
            return web.Response(status=400, text=f"{error}\n")
        logger.info("stand-in: fault switches changed: %s", json.dumps(changes))
        return web.json_response(faults.as_dict())

    app = web.Application()
    app.router.add_get("/faults", show)
    app.router.add_put("/faults", change)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound = runner.addresses[0]
    logger.info("stand-in: fault switches on %s:%d", bound[0], bound[1])
    return runner

"""The door before Elasticsearch, whose own security is not published for this machine: TLS, and basic authentication.

Who has the right password is let through to the real one; anybody else gets the answer that its security would give.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from devstack.ports import free_port
from devstack.server import HOST
from tests.support.secure import NAME, PASSWORDS, USER, SecureStack

LETS_IN = aiohttp.encode_basic_auth(USER, PASSWORDS.elasticsearch)


class SearchDoor:
    """A door on a port that it keeps however often it is opened and closed."""

    def __init__(self, servers: SecureStack) -> None:
        self._authority = servers.authority
        self._elasticsearch = f"http://{servers.sites['elasticsearch'].address}"
        self._port = free_port()

    def environment(self, password: str = PASSWORDS.elasticsearch, host: str = NAME) -> dict[str, str]:
        """What lets a process in."""
        url = f"https://{USER}:{password}@{host}:{self._port}"
        return {"ELASTICSEARCH_URL": url, "SSL_CERT_FILE": str(self._authority.ca)}

    async def open(self) -> None:
        """Let in who may."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._answer)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._authority.certificate, self._authority.key)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, ssl_context=context).start()

    async def close(self) -> None:
        """Cut every connection: nobody listens any more."""
        await self._runner.cleanup()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Be closed inside the block."""
        await self.close()
        try:
            yield
        finally:
            await self.open()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != LETS_IN:
            error = {"type": "security_exception", "reason": "unable to authenticate user"}
            headers = {"X-Elastic-Product": "Elasticsearch"}
            return web.json_response({"error": error, "status": 401}, status=401, headers=headers)
        asked = {name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers}
        url = f"{self._elasticsearch}{request.path_qs}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=await request.read(), headers=asked) as answer,
        ):
            kept = {name: answer.headers[name] for name in ("Content-Type", "X-Elastic-Product")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

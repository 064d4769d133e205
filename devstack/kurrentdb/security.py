"""TLS and a user's password at the stand-in's door, as a client of KurrentDB meets them.

The real server knows many users and what each may read and write; here one user may do everything, and nobody else
anything: a wrong or missing password is UNAUTHENTICATED in every call.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc


@dataclass(frozen=True)
class Security:
    """What is asked of a client; nothing where all is None. `user_file` holds one line, `name:password`."""

    certificate: Path | None = None
    key: Path | None = None
    user_file: Path | None = None

    def interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """What looks at each call first."""
        return [] if self.user_file is None else [PasswordCheck(self.user_file.read_text().strip())]

    def open_port(self, server: grpc.aio.Server, address: str) -> int:
        """Open `address` on `server`, encrypted where there is a certificate; return the port."""
        if self.certificate is None or self.key is None:
            return server.add_insecure_port(address)
        pair = self.key.read_bytes(), self.certificate.read_bytes()
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


class PasswordCheck(grpc.aio.ServerInterceptor):
    """Lets a call pass that brings `user`, a `name:password`, in HTTP's basic authentication."""

    def __init__(self, user: str) -> None:
        self._expected = f"Basic {base64.b64encode(user.encode()).decode()}"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Hand the call on, or answer it."""
        if dict(handler_call_details.invocation_metadata or ()).get("authorization") == self._expected:
            return await continuation(handler_call_details)
        # Of any kind of call: this one does not wait for a request.
        return grpc.stream_stream_rpc_method_handler(_refuse)


async def _refuse(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated")

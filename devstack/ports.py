"""Free ports on this machine, below the range that the kernel gives to outgoing connections.

A server's port must still be free when it comes back after a crash: a port of that range could by then belong to a
client's connection, even to one that tries to reach this very server.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Container, Iterable, Mapping

from devstack.errors import DevstackError
from devstack.server import HOST

LOWEST, HIGHEST = 20_000, 32_000
TRIES_MAX = 200


def choose_ports(names: Iterable[str], had: Mapping[str, int], taken: set[int]) -> dict[str, int]:
    """Return a port for each name: the one it had while that is free, else another one that is not in `taken`."""
    ports: dict[str, int] = {}
    for name in names:
        keep = name in had and is_free(had[name])
        ports[name] = had[name] if keep else free_port(taken | set(ports.values()))
    return ports


def free_port(taken: Container[int] = ()) -> int:
    """Return a port that nobody listens on, chosen by chance so that two stacks do not meet."""
    for _ in range(TRIES_MAX):
        port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
    raise DevstackError(f"no free port between {LOWEST} and {HIGHEST} in {TRIES_MAX} tries: stop other servers")


def is_free(port: int) -> bool:
    """Tell whether a server could listen there now; connections that are still closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True

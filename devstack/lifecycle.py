"""The life of one server's process: start it, wait until it works, stop it."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from devstack.errors import DevstackError
from devstack.process import Process, end, is_alive, last_lines, spawn
from devstack.server import HOST, Server, Site

READY_S = 90.0
"""How long a server may take from its start to real work; a busy machine is slow."""
READY_POLL_S = 0.1
CONNECT_S = 5.0
KILL_S = 10.0
"""How long the kernel may take to end a killed process."""


def start(server: Server, site: Site, log: Path) -> Process:
    """Start the server's process; whether it works is `wait_ready`'s business."""
    site.folder.mkdir(mode=0o700, exist_ok=True)
    process = spawn(server.prepare(site), site.folder, log)
    if process is None:
        raise DevstackError(_ended(server, log))
    return process


def wait_ready(server: Server, site: Site, process: Process, log: Path) -> None:
    """Return once the server has done real work; DevstackError where it ends before, or takes too long."""
    give_up_at = time.monotonic() + READY_S
    while (problem := not_ready_because(server, site)) is not None:
        if not is_alive(process):
            raise DevstackError(_ended(server, log))
        if time.monotonic() > give_up_at:
            raise DevstackError(f"{server.name} runs, and is not ready after {READY_S:.0f} s: {problem}; see {log}")
        time.sleep(READY_POLL_S)


def not_ready_because(server: Server, site: Site) -> str | None:
    """Let the server do some work once: None where it did, else what went wrong."""
    try:
        # First: the clients would retry, and log, what is only a port that nobody listens on yet.
        socket.create_connection((HOST, site.port), CONNECT_S).close()
        server.check(site)
    except server.not_ready_errors as error:
        return f"{type(error).__name__}: {error}"
    return None


def stop(server: Server, site: Site, process: Process) -> None:
    """Stop the server cleanly; kill it where it takes longer than it may, and leave nothing of it behind."""
    if not end(process, server.stop_signal, server.stop_s):
        kill(server, process)
    server.sweep(site)


def kill(server: Server, process: Process) -> None:
    """End the process with SIGKILL, and wait until it is gone."""
    if not end(process, signal.SIGKILL, KILL_S):
        raise DevstackError(f"{server.name} (pid {process.pid}) does not end within {KILL_S:.0f} s of SIGKILL")


def _ended(server: Server, log: Path) -> str:
    return f"{server.name} ended while it started; the end of {log}:\n{last_lines(log)}"

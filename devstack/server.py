"""What a stack must know of a server: how it is made ready, started, checked, stopped and spoken to.

Each module of `devstack.servers` describes one server in these words; `devstack.stack` does the rest alike for all.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
"""Where every server listens, and nowhere else."""


@dataclass(frozen=True)
class Site:
    """The place of one server in one stack."""

    folder: Path  # its own; data and configuration lie below
    ports: Mapping[str, int]  # by name; "main" is the one that clients use
    options: tuple[str, ...] = ()  # how this start differs from the usual one

    @property
    def port(self) -> int:
        return self.ports["main"]

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


def _nothing_to_do(site: Site) -> None:
    """Most servers leave nothing behind when they are killed."""


@dataclass(frozen=True)
class Server:
    """One of the five, as a stack sees it."""

    name: str
    port_names: tuple[str, ...]
    prepare: Callable[[Site], list[str]]
    """Make what the server needs in its folder (harmless to repeat), and return its command line."""
    check: Callable[[Site], None]
    """Do real work on the server; raise one of `not_ready_errors` where it does not answer as it should."""
    not_ready_errors: tuple[type[Exception], ...]
    """What `check` may raise; OSError among them."""
    environment: Callable[[Site], dict[str, str]]
    """The variables that point Wallex at this server."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s: float = 20.0
    """How long a clean stop may take before it is killed."""
    sweep: Callable[[Site], None] = _nothing_to_do
    """End what a killed server has left running, so that it can be started again."""

"""What a stack remembers between commands: ports and processes, in one small JSON file; and the stack's turn.

The file is replaced as a whole, so a reader never sees half of it. `turn` lets one `up` or `down` at a time work on a
folder; it is a `flock`, which the kernel gives back when a process dies.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devstack.process import Process


@dataclass(frozen=True)
class ServerState:
    """What is remembered of one server."""

    ports: dict[str, int]
    process: Process | None = None  # None: it was stopped, or never started
    options: tuple[str, ...] = ()  # of the start that `process` comes from


def load_states(file: Path) -> dict[str, ServerState]:
    """Read the states by server name; none where the stack was never started."""
    if not file.exists():
        return {}
    return {name: _read_state(entry) for name, entry in json.loads(file.read_text()).items()}


def save_states(file: Path, states: dict[str, ServerState]) -> None:
    """Replace the file."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps({name: asdict(state) for name, state in states.items()}, indent=1))
    unfinished.replace(file)


@contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait until nobody else holds this lock file, and hold it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_state(entry: dict[str, Any]) -> ServerState:
    process = Process(**entry["process"]) if entry["process"] else None
    return ServerState(entry["ports"], process, tuple(entry["options"]))

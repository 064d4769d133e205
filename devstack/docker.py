"""The same servers from their images, where a Docker engine is: `docker-compose.yml`, on the standard ports.

Nothing is remembered here: the environment's defaults point at these servers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devstack.errors import DevstackError
from devstack.servers import SERVERS

COMPOSE_FILE = Path(__file__).parents[1] / "docker-compose.yml"


def up(names: Iterable[str] | None) -> None:
    """Start the named services (None: the five servers) and wait until their health checks pass."""
    _compose("up", "--detach", "--wait", *(names or SERVERS))


def down(names: Iterable[str] | None) -> None:
    """Stop the named services (None: the five servers); their volumes stay."""
    _compose("stop", *(names or SERVERS))


def _compose(*arguments: str) -> None:
    docker = shutil.which("docker")
    if docker is None:
        raise DevstackError("no `docker` on the PATH: install Docker with its compose plugin, or leave --docker out")
    done = subprocess.run([docker, "compose", "--file", str(COMPOSE_FILE), *arguments], check=False)
    if done.returncode:
        raise DevstackError(
            f"`docker compose {arguments[0]}` ended with exit code {done.returncode}:"
            " it needs a running Docker engine and the compose plugin"
        )

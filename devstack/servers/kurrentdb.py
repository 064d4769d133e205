"""The stand-in for KurrentDB (`devstack.kurrentdb`), as a process of its own; options are its command line's."""

from __future__ import annotations

import sys
from pathlib import Path

from esdbclient import EventStoreDBClient
from esdbclient.exceptions import EventStoreDBClientException

from devstack.server import HOST, Server, Site

PROJECT = Path(__file__).parents[2]
ANSWER_S = 5.0


def prepare(site: Site) -> list[str]:
    """Return the stand-in's command line; it makes its data folder itself."""
    return [
        "env",
        f"PYTHONPATH={PROJECT}",  # it runs in its own folder
        sys.executable,
        "-m",
        "devstack.kurrentdb",
        f"--host={HOST}",
        f"--port={site.port}",
        f"--data={site.folder / 'data'}",
        *site.options,
    ]


def check(site: Site) -> None:
    """Ask for the last position, with the client that Wallex uses."""
    client = EventStoreDBClient(_uri(site))
    try:
        client.get_commit_position(timeout=ANSWER_S)
    finally:
        client.close()


def environment(site: Site) -> dict[str, str]:
    """Return KURRENTDB_URI."""
    return {"KURRENTDB_URI": _uri(site)}


def _uri(site: Site) -> str:
    return f"esdb://{site.address}?Tls=false"


KURRENTDB = Server(
    name="kurrentdb",
    port_names=("main",),
    prepare=prepare,
    check=check,
    not_ready_errors=(OSError, EventStoreDBClientException),
    environment=environment,
    stop_s=40.0,  # told to, it goes on for 30 s as a leader does
)

"""A stand-in for the tests of this folder: one for those that share it, and a way to start more."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.kurrentdb.standin import StandIn, start_standin

URI_VARIABLE = "KURRENTDB_CONFORMANCE_URI"

Start = Callable[..., Awaitable[StandIn]]


@pytest.fixture(scope="session")
async def conformance_target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """host:port of the server that KURRENTDB_CONFORMANCE_URI names, else of a stand-in of our own."""
    uri = os.environ.get(URI_VARIABLE)
    if uri:
        yield urlsplit(uri).netloc
        return
    # As slow a commit as the recorded server's: else an answer may leave before the half-close behind it comes.
    standin = await start_standin(tmp_path_factory.mktemp("conformance"), "--fsync-delay-ms", "4")
    yield standin.target
    await standin.stop()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start stand-ins with command line options, by default on the same folder; they are stopped at the end."""
    started: list[StandIn] = []

    async def start_one(*options: str, port: int = 0) -> StandIn:
        standin = await start_standin(tmp_path, *options, port=port)
        started.append(standin)
        return standin

    yield start_one
    for standin in started:
        await standin.stop()

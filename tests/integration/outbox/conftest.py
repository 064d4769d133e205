"""A ledger and a KurrentDB stand-in for the tests of the append, which all hold for either way to append."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.kurrentdb.standin import StandIn, start_standin
from tests.support.outbox import Book, open_book
from tests.support.postgres import migrated_database
from worker.database import create_engine
from worker.settings import Settings


@pytest.fixture(scope="session", params=["append_records", "append_to_stream"])
async def kurrentdb(request, tmp_path_factory) -> AsyncIterator[StandIn]:
    """A server with the call for many streams, and one without. Tests use streams of their own."""
    options = [] if request.param == "append_records" else ["--no-append-records"]
    standin = await start_standin(tmp_path_factory.mktemp(request.param), *options)
    yield standin
    await standin.stop()


@pytest.fixture(scope="session")
async def engine(stack) -> AsyncIterator[AsyncEngine]:
    """A migrated database. Tests use wallets of their own."""
    async with migrated_database(stack.environment()) as own:
        engine = create_engine(Settings.load(own))
        yield engine
        await engine.dispose()


@pytest.fixture
async def book(engine, kurrentdb) -> AsyncIterator[Book]:
    """The ledger, and the server."""
    async with open_book(engine, kurrentdb) as book:
        yield book

"""One stack of servers for all tests, started when the first test asks for it, and databases of a test's own in it.

The stack is new for each run and gone afterwards. With WALLEX_KEEP_STACK=1 it stays up in `.devstack-tests`, and the
next run finds it there: tests must not rely on empty servers, but on names of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.stack import Stack
from tests.support.ledger import engine_of
from tests.support.postgres import migrated_database

KEPT_FOLDER = Path(__file__).parents[1] / ".devstack-tests"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The five servers, ready; `stack.environment()` points at them. Tests that kill servers bring their own."""
    if os.environ.get("WALLEX_KEEP_STACK") == "1":
        kept = Stack(KEPT_FOLDER)
        kept.up()
        yield kept
        return
    folder = Path(tempfile.mkdtemp(prefix="wallex-tests-"))
    own = Stack(folder)
    try:
        own.up()
        yield own
    finally:
        own.down()
        shutil.rmtree(folder)


@pytest.fixture
async def environment(stack) -> AsyncIterator[dict[str, str]]:
    """The stack's environment, with a migrated database of the test's own."""
    async with migrated_database(stack.environment()) as own:
        yield own


@pytest.fixture
async def engine(environment) -> AsyncIterator[AsyncEngine]:
    """A worker's engine in that database."""
    async with engine_of(environment) as engine:
        yield engine


@pytest.fixture
async def other(environment) -> AsyncIterator[AsyncEngine]:
    """Another worker's engine."""
    async with engine_of(environment) as engine:
        yield engine

"""A KurrentDB and aliases of a test's own, so that nothing else's events or checkpoints are in the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.support.projecting import a_projector, delete_indices
from tests.support.projection import StandIn, under_other_aliases
from worker.outbox.event_store import open_check
from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import PROJECTIONS
from worker.settings import Settings


@pytest.fixture
async def kurrentdb(tmp_path):
    """A KurrentDB that holds nothing yet."""
    stand_in = StandIn(tmp_path)
    await stand_in.start()
    yield stand_in
    stand_in.kill()


@pytest.fixture
async def environment(environment, kurrentdb):
    """The stack, with that KurrentDB, which is joined to the test's own database as long as both are empty."""
    own = {**environment, "KURRENTDB_URI": kurrentdb.uri}
    async with open_check(Settings.load(own)) as check:
        await check()
    return own


@pytest.fixture
async def elasticsearch(stack):
    """A client of the stack's Elasticsearch."""
    async with connect_elasticsearch(stack.environment()["ELASTICSEARCH_URL"]) as client:
        yield client


@pytest.fixture
async def projections(elasticsearch):
    """The projections under aliases that nobody else has; their indices are deleted afterwards."""
    prefix = f"test-{uuid4().hex[:12]}"
    yield under_other_aliases(prefix)
    names = [*(await elasticsearch.indices.get(index=f"{prefix}-*", expand_wildcards="all")).body]
    if names:
        await elasticsearch.indices.delete(index=names)


@pytest.fixture
def projecting(elasticsearch, kurrentdb, projections):
    """Run a projector inside a block, and stop it properly behind it; gives the projector."""

    @asynccontextmanager
    async def run(some=projections):
        projector = a_projector(elasticsearch, kurrentdb, some)
        stop = asyncio.Event()
        running = asyncio.create_task(projector.run(stop))
        yield projector
        stop.set()
        await running

    return run


@pytest.fixture
async def contracts_aliases(elasticsearch):
    """The projections under the contract's own aliases, behind which nothing is, before and afterwards."""
    for projection in PROJECTIONS:
        await delete_indices(elasticsearch, projection)
    yield PROJECTIONS
    for projection in PROJECTIONS:
        await delete_indices(elasticsearch, projection)

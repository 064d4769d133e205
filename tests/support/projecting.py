"""What the tests of a running projection share: what to wait for, and what stands in the indices."""

from __future__ import annotations

import asyncio

from worker.errors import Unavailable
from worker.projection.index import index_name, read_numbers
from worker.projection.progress import caught_up
from worker.projection.projector import Projector
from worker.telemetry.metrics import ProjectorMetrics, new_registry

PATIENCE_S = 30


def a_projector(elasticsearch, kurrentdb, projections):
    """A projector with a registry of its own."""
    return Projector(elasticsearch, kurrentdb.uri, ProjectorMetrics(new_registry()), projections)


async def all_written(elasticsearch, kurrentdb, projections):
    """Wait until everything is in the indices, and make it visible to searches."""
    assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=PATIENCE_S, projections=projections)
    await elasticsearch.indices.refresh(index=[projection.alias for projection in projections])


async def documents(elasticsearch, projection):
    """Every document that a search through the alias shows, by id, with its external version."""
    answer = await elasticsearch.search(index=projection.alias, size=10_000, version=True)
    return {hit["_id"]: (hit["_version"], hit["_source"]) for hit in answer["hits"]["hits"]}


async def everything(elasticsearch, projections):
    """The documents of all aliases."""
    return [await documents(elasticsearch, projection) for projection in projections]


async def until(condition):
    """Wait until `await condition()` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def is_waiting(projector):
    """Whether the projector says that it cannot go on now."""
    try:
        await projector.check()
    except Unavailable:
        return True
    return False


async def is_following(projector):
    """Whether the projector says that all is well."""
    return not await is_waiting(projector)


async def lags(projector):
    """Whether the projector's lag is more than nothing."""
    return projector._lag.seconds() > 0


async def has_no_lag(projector):
    """Whether nothing is missing."""
    return projector._lag.seconds() == 0


async def delete_indices(elasticsearch, projection):
    """Delete the projection's indices, whatever their aliases."""
    names = [index_name(projection, number) for number in await read_numbers(elasticsearch, projection)]
    if names:
        await elasticsearch.indices.delete(index=names)


async def indices_of(elasticsearch, projections):
    """All indices of the projections by name, with their aliases."""
    return {
        index_name(projection, number): [*aliases]
        for projection in projections
        for number, aliases in (await read_numbers(elasticsearch, projection)).items()
    }


def only(projections, number):
    """What `indices_of` is where each projection has one index, with that number."""
    return {index_name(one, number): [one.alias] for one in projections}

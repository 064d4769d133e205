"""What befalls the read model: blocked indices, refused bulks, an index or a checkpoint that is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from elasticsearch import AsyncElasticsearch, NotFoundError

from chaos.faults.fault import Fault, Happen, Missed
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage

THERE_S = 60.0
ALIASES = ("wallets", "wallet-holds", "wallet-ledger")


@asynccontextmanager
async def _client(stage: Stage) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(stage.world.environment["ELASTICSEARCH_URL"]) as client:
        yield client


def _blocked(block: str) -> Happen:
    async def happen(stage: Stage, _load: Load, strike: Strike) -> None:
        async with _client(stage) as client:
            await _put(client, {block: True})
            try:
                await asyncio.sleep(strike.lasts_s)
            finally:
                await _put(client, {block: None})

    return happen


async def wipe_index(stage: Stage, _load: Load, strike: Strike) -> None:
    """Delete the index behind one of the aliases."""
    async with _client(stage) as client:
        await client.indices.delete(index=await _index(client, strike))


async def wipe_checkpoint(stage: Stage, _load: Load, strike: Strike) -> None:
    """Delete what one index knows of how far it came."""
    async with _client(stage) as client:
        index = await _index(client, strike)
        settings = await client.indices.get_settings(index=index, flat_settings=True)
        uuid = settings[index]["settings"]["index.uuid"]
        try:
            await client.delete(index=index, id=f"checkpoint-{uuid}", refresh=True)
        except NotFoundError as error:
            raise Missed from error


async def _put(client: AsyncElasticsearch, settings: dict[str, object]) -> None:
    # One that was wiped may not be back yet.
    await client.indices.put_settings(index=list(ALIASES), settings=settings, ignore_unavailable=True)


async def _index(client: AsyncElasticsearch, strike: Strike) -> str:
    """The name behind one of the aliases, once there is one: it may have been wiped."""
    alias = random.Random(strike.seed).choice(ALIASES)
    async with asyncio.timeout(THERE_S):
        while not await client.indices.exists_alias(name=alias):  # noqa: ASYNC110 - the projector makes it
            await asyncio.sleep(0.1)
    return next(iter((await client.indices.get_alias(name=alias)).body))


def _kind(name: str, lasts_s: tuple[float, float]) -> Kind:
    return Kind(name, "elasticsearch", ("elasticsearch",), lasts_s)


FAULTS = (
    Fault(
        _kind("read-only indices", (3.0, 8.0)), "index.blocks.write: each item gets 403", _blocked("index.blocks.write")
    ),
    Fault(
        _kind("rejected bulks", (3.0, 8.0)),
        "as on a full disk: each item gets 429",
        _blocked("index.blocks.read_only_allow_delete"),
    ),
    Fault(_kind("wiped index", (0.0, 0.0)), "an index is deleted", wipe_index),
    Fault(_kind("wiped checkpoint", (0.0, 0.0)), "an index forgets how far it came", wipe_checkpoint),
)

"""A projector beside a run, and its documents held against Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from elasticsearch import AsyncElasticsearch

from tests.support.invariants import Books
from tests.support.projection import under_other_aliases
from tests.support.world import World
from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import Projection
from worker.projection.progress import caught_up
from worker.projection.projector import Projector
from worker.telemetry.metrics import ProjectorMetrics, new_registry

PATIENCE_S = 60.0
PAGE = 5_000


class Documents:
    """The documents of a world, under aliases of its own."""

    def __init__(self, world: World, client: AsyncElasticsearch, projections: tuple[Projection, ...]) -> None:
        self._uri = world.environment["KURRENTDB_URI"]
        self._client = client
        self._wallets, self._ledger, _ = projections
        self._projections = projections

    async def check(self, books: Books) -> None:
        """Wait until everything is projected; fail unless documents equal rows, one for one."""
        assert await caught_up(self._client, self._uri, timeout_s=PATIENCE_S, projections=self._projections)
        await self._client.indices.refresh(index=[projection.alias for projection in self._projections])
        wallets, ledger = await self._all(self._wallets, "walletId"), await self._all(self._ledger, "eventId")
        rows = {
            id_: (row["version"], f"{row['balance']:.4f}", f"{row['available_balance']:.4f}", row["status"])
            for id_, row in books.wallets.items()
        }
        shown = ("version", "balance", "availableBalance", "status")
        assert {id_: tuple(one[name] for name in shown) for id_, one in wallets.items()} == rows
        lines = {
            str(entry["event_id"]): (entry["version"], f"{entry['amount']:.4f}", f"{entry['balance']:.4f}")
            for entries in books.ledger.values()
            for entry in entries
            if entry["amount"]
        }
        shown = ("version", "amount", "balance")
        assert {id_: tuple(one[name] for name in shown) for id_, one in ledger.items()} == lines

    async def _all(self, projection: Projection, key: str) -> dict[str, dict[str, object]]:
        """Every document, page by page."""
        found: dict[str, dict[str, object]] = {}
        after: list[object] | None = None
        while True:
            answer = await self._client.search(
                index=projection.alias, size=PAGE, sort=[{key: "asc"}], search_after=after
            )
            hits = answer["hits"]["hits"]
            if not hits:
                return found
            found |= {hit["_id"]: hit["_source"] for hit in hits}
            after = hits[-1]["sort"]


@asynccontextmanager
async def projecting(world: World) -> AsyncIterator[Documents]:
    """Run a projector on the world's KurrentDB, which must be its own, inside the block."""
    prefix = f"test-{uuid4().hex[:12]}"
    projections = under_other_aliases(prefix)
    async with connect_elasticsearch(world.environment["ELASTICSEARCH_URL"]) as client:
        stop = asyncio.Event()
        projector = Projector(client, world.environment["KURRENTDB_URI"], ProjectorMetrics(new_registry()), projections)
        running = asyncio.create_task(projector.run(stop))
        try:
            yield Documents(world, client, projections)
        finally:
            stop.set()
            await running
            names = [*(await client.indices.get(index=f"{prefix}-*", expand_wildcards="all")).body]
            await client.indices.delete(index=names)

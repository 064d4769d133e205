"""An index held against the one that is to replace it, document by document: what a rebuild changes.

The old one is read as it stands at one moment, while it serves on; the new one has followed everything up to that
moment, so what it lacks, it will not get. A document that is newer in the new one has only moved on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import AsyncElasticsearch

from worker.errors import Unavailable
from worker.projection.elastic import elasticsearch_errors
from worker.projection.index import ALIAS, Index

PAGE_DOCUMENTS = 2_000
KEEP_ALIVE = "5m"


@dataclass(slots=True)
class Comparison:
    """How many documents of an old index are alike in the new one, differ (and in which fields), moved on, are gone.

    Gone is also what the new one has in an older version only.
    """

    alike: int = 0
    changed: int = 0
    newer: int = 0
    gone: int = 0
    fields: set[str] = field(default_factory=set)

    @property
    def documents(self) -> int:
        """How many documents the old one had."""
        return self.alike + self.changed + self.newer + self.gone

    def add(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Count one document: a hit of a search in the old index, and what the new one has under its id."""
        if not new["found"] or new["_version"] < old["_version"]:
            self.gone += 1
        elif new["_version"] > old["_version"]:
            self.newer += 1
        elif old["_source"] == new["_source"]:
            self.alike += 1
        else:
            self.changed += 1
            self.fields |= _unequal(old["_source"], new["_source"])


def _unequal(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    nothing = object()
    return {name for name in old.keys() | new.keys() if old.get(name, nothing) != new.get(name, nothing)}


@asynccontextmanager
async def frozen(client: AsyncElasticsearch, index: Index) -> AsyncIterator[str]:
    """A point in time of `index` as it is now, kept inside the block."""
    with elasticsearch_errors():
        await client.indices.refresh(index=index.name)
        point = (await client.open_point_in_time(index=index.name, keep_alive=KEEP_ALIVE))["id"]
    try:
        yield point
    finally:
        with elasticsearch_errors():
            await client.close_point_in_time(id=point)


async def compare(client: AsyncElasticsearch, point: str, new: Index, progress: Callable[[int], None]) -> Comparison:
    """Hold each document of the old index at `point` against that in `new` which a search would see.

    `progress` is told how many were compared with each page.
    """
    comparison = Comparison()
    async for page in _pages(client, point):
        with elasticsearch_errors():
            found = await client.mget(index=new.name, ids=[hit["_id"] for hit in page], realtime=False)
        for old, document in zip(page, found["docs"], strict=True):
            if "error" in document:
                raise Unavailable(f"Elasticsearch: {document['_id']} in {new.name}: {document['error'].get('reason')}")
            comparison.add(old, document)
        progress(len(page))
    return comparison


async def _pages(client: AsyncElasticsearch, point: str) -> AsyncIterator[list[dict[str, Any]]]:
    """All documents but the checkpoint at `point`, in whatever order is cheapest."""
    after: list[Any] | None = None
    while True:
        with elasticsearch_errors():
            answer = await client.search(
                pit={"id": point, "keep_alive": KEEP_ALIVE},
                query=ALIAS["filter"],
                sort=["_shard_doc"],
                search_after=after,
                size=PAGE_DOCUMENTS,
                version=True,
                track_total_hits=False,
            )
        hits = answer["hits"]["hits"]
        if hits:
            yield hits
        if len(hits) < PAGE_DOCUMENTS:
            return
        after = hits[-1]["sort"]

"""Elasticsearch's documents in the order of the ledger: by wallet, then by version.

A search sees what was written before the last refresh, so `refresh` comes before a look that is to be exact. Each
document comes with its external version, which is what decides whether Elasticsearch takes the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from elasticsearch import AsyncElasticsearch

from worker.projection.elastic import IndexLost, elasticsearch_errors

PAGE_DOCUMENTS = 5_000
NO_VERSION = -1

# The ids only tell documents apart that say the same of themselves: none is passed over where a page ends.
_IDS = ("eventId", "holdId")
# A document without one comes before all others of its version, not behind `_BEHIND_EVERY_ID`.
_FIRST = {"unmapped_type": "keyword", "missing": "_first"}
ORDER: list[str | dict[str, Any]] = ["walletId", "version", *({id_: _FIRST} for id_ in _IDS)]
_BEHIND_EVERY_ID = "~"


class Document(NamedTuple):
    """A document as it stands: `version` is Elasticsearch's own, one more than the event's revision."""

    id: str
    version: int
    source: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        """The event that it says it was made from, as (wallet id, version): its place in the order."""
        version = self.source.get("version")
        return self.source["walletId"], version if isinstance(version, int) else NO_VERSION


async def refresh(client: AsyncElasticsearch, *aliases: str) -> None:
    """Let the next search see everything that was written; `IndexLost` where an alias is missing."""
    try:
        with elasticsearch_errors():
            await client.indices.refresh(index=list(aliases))
    except IndexLost as error:
        raise IndexLost(f"{error}: an alias is missing, `wallex projector` makes it") from error


async def read_documents(
    client: AsyncElasticsearch, alias: str, first: str, last: str, behind: tuple[str, int] | None = None
) -> AsyncIterator[Document]:
    """The documents of the wallets from `first` to `last`, both included, behind the key `behind`, in order."""
    wallets = {"range": {"walletId": {"gte": first, "lte": last}}}
    after: list[str | int] | None = [*behind, *[_BEHIND_EVERY_ID] * len(_IDS)] if behind else None
    while True:
        with elasticsearch_errors():
            answer = await client.search(
                index=alias,
                query=wallets,
                sort=ORDER,
                search_after=after,
                size=PAGE_DOCUMENTS,
                version=True,
                track_total_hits=False,
            )
        hits = answer["hits"]["hits"]
        for hit in hits:
            yield Document(hit["_id"], hit["_version"], hit["_source"])
        if len(hits) < PAGE_DOCUMENTS:
            return
        after = hits[-1]["sort"]


async def find_missing(client: AsyncElasticsearch, alias: str, ids: Sequence[str]) -> list[str]:
    """Those of `ids` under which there is no document now."""
    if not ids:
        return []
    with elasticsearch_errors():
        found = await client.mget(index=alias, ids=ids, source=False)
    return [one["_id"] for one in found["docs"] if not one.get("found")]


async def find_lines(client: AsyncElasticsearch, alias: str, command_id: str) -> list[Document]:
    """The lines of the statement that a command made."""
    with elasticsearch_errors():
        answer = await client.search(
            index=alias, query={"term": {"commandId": command_id}}, size=1_000, version=True, track_total_hits=False
        )
    return [Document(hit["_id"], hit["_version"], hit["_source"]) for hit in answer["hits"]["hits"]]

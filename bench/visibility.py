"""When does a search see it: probe wallets that nothing else touches, and a search for them, again and again.

The n-th credit to a probe wallet brings it to a version known in advance. What counts is what a search finds, after
Elasticsearch's own refresh, not what a read by id would: that sees a document at once. The search costs Elasticsearch
a little, and a result may be late by `POLL_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from elasticsearch import AsyncElasticsearch

from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import WALLETS

POLL_S = 0.1
PATIENCE_S = 60.0
"""How long after the last probe was due a search may miss one."""


class VisibilityError(Exception):
    """A search did not come to see what it should have."""


class Probe(NamedTuple):
    """That `wallet` is at `version` or beyond is to be seen; `at`: when the command for it is due."""

    at: float
    wallet: str
    version: int


class Visibility:
    """A client of Elasticsearch that looks for probes."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[Visibility]:
        """Connect to Elasticsearch."""
        async with connect_elasticsearch(url) as client:
            # An index in which nobody has searched for half a minute shows new documents late to the first who does.
            await client.search(index=WALLETS.alias, size=0)
            yield cls(client)

    async def watch(self, probes: Sequence[Probe], began: float) -> list[float]:
        """Wait until all of `probes`, in the order they are due, are seen: the seconds that each took.

        `began` is the time of `perf_counter` from which their times count. VisibilityError: one is never seen.
        """
        unseen, took = list(probes), []
        while unseen:
            pending = [probe for probe in unseen if probe.at <= time.perf_counter() - began]
            versions = await self._versions({probe.wallet for probe in pending})
            now = time.perf_counter() - began
            seen = [probe for probe in pending if is_seen(probe, versions)]
            took += [now - probe.at for probe in seen]
            gone = set(seen)
            unseen = [probe for probe in unseen if probe not in gone]
            if unseen and now > probes[-1].at + PATIENCE_S:
                raise VisibilityError(f"{len(unseen)} probes are not seen {PATIENCE_S:.0f} s later; {unseen[0]} first")
            await asyncio.sleep(POLL_S)
        return took

    async def _versions(self, wallets: set[str]) -> dict[str, int]:
        """The version of each of `wallets` that a search finds."""
        if not wallets:
            return {}
        found = await self._client.search(
            index=WALLETS.alias,
            query={"terms": {"walletId": sorted(wallets)}},
            size=len(wallets),
            source=["version"],
            filter_path="hits.hits._id,hits.hits._source",
        )
        hits = found.body.get("hits", {}).get("hits", [])
        return {hit["_id"]: hit["_source"]["version"] for hit in hits}


def is_seen(probe: Probe, versions: dict[str, int]) -> bool:
    """Whether a search that found `versions` saw the probe."""
    return versions.get(probe.wallet, -1) >= probe.version

"""A projector beside a run, and its documents held against Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from elasticsearch import AsyncElasticsearch

from tests.support.invariants import Books, fail_with
from tests.support.projection import under_other_aliases
from tests.support.world import World
from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import PROJECTIONS, Projection
from worker.projection.progress import caught_up
from worker.projection.projector import Projector
from worker.telemetry.metrics import ProjectorMetrics, new_registry

PATIENCE_S = 60.0
PAGE = 5_000
HOLD_TIMES = {
    "expiresAt": "expires_at",
    "releasedAt": "released_at",
    "capturedAt": "captured_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
LINE_IDS = {
    "counterpartyWalletId": "counterparty_wallet_id",
    "transferId": "transfer_id",
    "groupId": "group_id",
    "commandId": "command_id",
}


class Documents:
    """The documents of a world, under aliases of its own."""

    def __init__(self, world: World, client: AsyncElasticsearch, projections: tuple[Projection, ...]) -> None:
        self._uri = world.environment["KURRENTDB_URI"]
        self._wallets, self._ledger, self._holds = projections
        self.client, self.projections = client, projections

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[None]:
        """Run a projector inside the block, and stop it properly behind it."""
        stop = asyncio.Event()
        projector = Projector(self.client, self._uri, ProjectorMetrics(new_registry()), self.projections)
        running = asyncio.create_task(projector.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running

    async def check(self, books: Books) -> None:
        """Wait until everything is projected; fail unless documents equal rows, one for one and field by field."""
        assert await caught_up(self.client, self._uri, timeout_s=PATIENCE_S, projections=self.projections)
        await self.refresh()
        fail_with(await self.violations(books))

    async def refresh(self) -> None:
        """Let searches see everything that was written."""
        await self.client.indices.refresh(index=[projection.alias for projection in self.projections])

    async def violations(self, books: Books, wallet_id: str | None = None) -> list[str]:
        """Which documents are not what the rows say: all documents, or those of one wallet, whose rows `books` are."""
        wallets = {id_: wallet_document(row) for id_, row in books.wallets.items()}
        return [
            *_differences("wallet", await self._all(self._wallets, "walletId", wallet_id), wallets),
            *_differences("hold", await self._all(self._holds, "holdId", wallet_id), hold_documents(books)),
            *_differences("line", await self._all(self._ledger, "eventId", wallet_id), lines(books)),
        ]

    async def count(self) -> tuple[int, int, int]:
        """How many documents there are of wallets, holds and lines."""
        wallets, holds, ledger = [
            (await self.client.count(index=projection.alias))["count"]
            for projection in (self._wallets, self._holds, self._ledger)
        ]
        return wallets, holds, ledger

    async def _all(self, projection: Projection, key: str, wallet_id: str | None) -> dict[str, dict[str, object]]:
        """Every document, or every one of a wallet, with its external version, page by page."""
        found: dict[str, dict[str, object]] = {}
        after: list[object] | None = None
        query = None if wallet_id is None else {"term": {"walletId": wallet_id}}
        while True:
            answer = await self.client.search(
                index=projection.alias, size=PAGE, sort=[{key: "asc"}], search_after=after, version=True, query=query
            )
            hits = answer["hits"]["hits"]
            found |= {hit["_id"]: hit["_source"] | {"_version": hit["_version"]} for hit in hits}
            if len(hits) < PAGE:
                return found
            after = hits[-1]["sort"]


def _differences(what: str, shown: Mapping[str, object], expected: Mapping[str, object]) -> Iterator[str]:
    for id_ in sorted(shown.keys() | expected.keys()):
        if shown.get(id_) != expected.get(id_):
            yield f"the document of the {what} {id_} is {shown.get(id_)}, the rows say {expected.get(id_)}"


def wallet_document(row: Any) -> dict[str, object]:
    """The document of a wallet's row."""
    return {
        "_version": row["version"] + 1,
        "walletId": str(row["id"]),
        "version": row["version"],
        "ownerId": row["owner_id"],
        "currency": row["currency"],
        "status": row["status"],
        **money("balance", row["balance"]),
        **money("heldBalance", row["held_balance"]),
        **money("availableBalance", row["available_balance"]),
        "metadata": json.loads(row["metadata"]),
        "createdAt": time(row["created_at"]),
        "updatedAt": time(row["updated_at"]),
    }


def hold_documents(books: Books) -> dict[str, dict[str, object]]:
    """The documents of the holds' rows, each at the version of the last event that changed it."""
    versions = {
        json.loads(entry["hold"])["holdId"]: entry["version"]
        for entries in books.ledger.values()
        for entry in entries
        if entry["hold"] is not None
    }
    return {
        str(row["id"]): hold_document(row, books.wallets[wallet_id], versions[str(row["id"])])
        for wallet_id, rows in books.holds.items()
        for row in rows
    }


def hold_document(row: Any, wallet: Any, version: int) -> dict[str, object]:
    """The document of a hold's row."""
    return {
        "_version": version + 1,
        "holdId": str(row["id"]),
        "walletId": str(row["wallet_id"]),
        "version": version,
        "ownerId": wallet["owner_id"],
        "currency": wallet["currency"],
        "status": row["status"],
        "type": row["type"],
        **money("amount", row["amount"]),
        **money("capturedAmount", row["captured_amount"]),
        "reference": row["reference"],
        "metadata": row["metadata"] and json.loads(row["metadata"]),
        **{name: time(row[column]) for name, column in HOLD_TIMES.items()},
    }


def lines(books: Books) -> dict[str, dict[str, object]]:
    """The statement: an entry that moved or reserved money is a line."""
    return {
        str(entry["event_id"]): line(entry, books.wallets[wallet_id])
        for wallet_id, entries in books.ledger.items()
        for entry in entries
        if entry["amount"]
    }


def line(entry: Any, wallet: Any) -> dict[str, object]:
    """The document of an entry."""
    return {
        "_version": entry["version"] + 1,
        "walletId": str(entry["wallet_id"]),
        "eventId": str(entry["event_id"]),
        "version": entry["version"],
        "eventType": entry["event_type"],
        **money("amount", entry["amount"]),
        **money("balance", entry["balance"]),
        **money("heldBalance", entry["held_balance"]),
        **money("availableBalance", entry["balance"] - entry["held_balance"]),
        "currency": wallet["currency"],
        "ownerId": wallet["owner_id"],
        **{name: entry[column] and str(entry[column]) for name, column in LINE_IDS.items()},
        "holdId": entry["hold"] and json.loads(entry["hold"])["holdId"],
        "reference": entry["reference"],
        "metadata": entry["metadata"] and json.loads(entry["metadata"]),
        "correlationId": entry["correlation_id"],
        "occurredAt": time(entry["occurred_at"]),
    }


def money(name: str, amount: Decimal) -> dict[str, object]:
    """Exact text, and ten-thousandths beside it."""
    return {name: f"{amount:.4f}", f"{name}Minor": int(amount * 10_000)}


def time(value: datetime | None) -> str | None:
    """A time as it travels."""
    return value and value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@asynccontextmanager
async def documents_of(world: World) -> AsyncIterator[Documents]:
    """The documents of the world's KurrentDB, which must be its own; they are deleted behind the block."""
    prefix = f"test-{uuid4().hex[:12]}"
    async with connect_elasticsearch(world.environment["ELASTICSEARCH_URL"]) as client:
        try:
            yield Documents(world, client, under_other_aliases(prefix))
        finally:
            names = [*(await client.indices.get(index=f"{prefix}-*", expand_wildcards="all")).body]
            await client.indices.delete(index=names)


@asynccontextmanager
async def open_documents(world: World) -> AsyncIterator[Documents]:
    """The documents under the aliases that everybody uses; everything must be projected."""
    async with connect_elasticsearch(world.environment["ELASTICSEARCH_URL"]) as client:
        documents = Documents(world, client, PROJECTIONS)
        await documents.refresh()
        yield documents


@asynccontextmanager
async def projecting(world: World) -> AsyncIterator[Documents]:
    """Run a projector on the world's KurrentDB, which must be its own, inside the block."""
    async with documents_of(world) as documents, documents.projecting():
        yield documents

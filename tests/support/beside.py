"""Code beside the database: a repository of a test's own, and everything that it may leave behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
from pytest import MonkeyPatch
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.outbox import Book, open_book
from worker.database import raw_connection
from worker.repository import WalletRepository
from worker.settings import Settings

TABLES = ("commands", "wallets", "holds", "ledger")


@asynccontextmanager
async def beside(environment: Mapping[str, str], kurrentdb_uri: str = "") -> AsyncIterator[WalletRepository]:
    """A repository over the environment's stores, or over another KurrentDB."""
    uri = kurrentdb_uri or environment["KURRENTDB_URI"]
    async with WalletRepository.open(Settings.load({**environment, "KURRENTDB_URI": uri})) as wallets:
        yield wallets


@asynccontextmanager
async def book_of(environment: Mapping[str, str], engine: AsyncEngine) -> AsyncIterator[Book]:
    """The ledger and the streams of the environment, to be compared."""
    async with open_book(engine, SimpleNamespace(uri=environment["KURRENTDB_URI"])) as book:
        yield book


async def everything(engine: AsyncEngine) -> dict[str, list[str]]:
    """Every row of the four tables, as text."""
    async with raw_connection(engine) as connection:
        return {
            table: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
            for table in TABLES
        }


def lose_answer_to_commit(monkeypatch: MonkeyPatch, *, committed: bool) -> None:
    """Cut the next connection that commits: after it did so, or before."""
    execute = asyncpg.Connection.execute

    async def cut(self: asyncpg.Connection, query: str, *args: Any, **options: Any) -> str:
        if query != "COMMIT":
            return await execute(self, query, *args, **options)
        monkeypatch.setattr(asyncpg.Connection, "execute", execute)
        if committed:
            await execute(self, query, *args, **options)
        raise ConnectionResetError("the line was cut")

    monkeypatch.setattr(asyncpg.Connection, "execute", cut)

"""Somebody else in the database: a transaction that has nothing to do with the worker, and sits on a wallet's row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.postgres import administrator
from tests.support.world import World


@asynccontextmanager
async def locked(world: World, wallet: str) -> AsyncIterator[None]:
    """Hold the row of a wallet inside the block."""
    async with administrator(world.environment, world.environment["DB_NAME"]) as foreign, foreign.transaction():
        await foreign.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", wallet)
        yield

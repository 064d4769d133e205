"""Wallets whose stores contradict each other: noted in Postgres, so that every process knows, after a restart too.

Whoever locks a wallet reads with it whether it is quarantined (`ledger/lock.py`), and refuses its commands then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import RawConnection, passing_failures, raw_connection, raw_transaction

# Sorted, as every other lock on wallets. What was found first stays: what follows from it tells less.
QUARANTINE = """
UPDATE wallets SET quarantined_at = clock_timestamp(), quarantine_reason = found.reason
FROM (SELECT id, new.reason FROM wallets JOIN unnest($1::uuid[], $2::text[]) AS new(id, reason) USING (id)
      WHERE quarantined_at IS NULL ORDER BY id FOR UPDATE OF wallets) AS found
WHERE wallets.id = found.id
"""

RELEASE = "UPDATE wallets SET quarantined_at = NULL, quarantine_reason = NULL WHERE id = $1::uuid"

FIND = "SELECT id::text FROM wallets WHERE id = ANY($1::uuid[]) AND quarantined_at IS NOT NULL"

COUNT = "SELECT count(*) FROM wallets WHERE quarantined_at IS NOT NULL"

LIST = """
SELECT id::text, version, quarantined_at, coalesce(quarantine_reason, '') FROM wallets
WHERE quarantined_at IS NOT NULL ORDER BY quarantined_at, id
"""

LOCK = "SELECT quarantined_at IS NOT NULL FROM wallets WHERE id = $1::uuid FOR UPDATE"


class Quarantined(NamedTuple):
    """A quarantined wallet: its version in Postgres, since when, and what was found then."""

    wallet_id: str
    version: int
    since: datetime
    reason: str


async def quarantine(engine: AsyncEngine, reasons: Mapping[str, str]) -> None:
    """Quarantine the wallets in `reasons`; raises `Unavailable` where Postgres, or a lock, cannot be had now."""
    async with passing_failures(), raw_transaction(engine) as connection:
        await connection.execute(QUARANTINE, list(reasons), list(reasons.values()))


async def find_quarantined(engine: AsyncEngine, wallet_ids: Collection[str]) -> frozenset[str]:
    """Which of the wallets are quarantined now; raises `Unavailable`."""
    async with passing_failures(), raw_connection(engine) as connection:
        return frozenset(row[0] for row in await connection.fetch(FIND, list(wallet_ids)))


async def count_quarantined(engine: AsyncEngine) -> int:
    """How many wallets are quarantined; raises `Unavailable`."""
    async with passing_failures(), raw_connection(engine) as connection:
        return int(await connection.fetchval(COUNT))


async def list_quarantined(engine: AsyncEngine) -> list[Quarantined]:
    """The quarantined wallets, the oldest first; raises `Unavailable`."""
    async with passing_failures(), raw_connection(engine) as connection:
        return [Quarantined(*row) for row in await connection.fetch(LIST)]


async def lock_quarantined(connection: RawConnection, wallet_id: str) -> bool:
    """Whether the wallet is quarantined; locked, where it exists, until the transaction ends."""
    return bool(await connection.fetchval(LOCK, wallet_id))


async def release(connection: RawConnection, wallet_id: str) -> None:
    """Let the wallet, which is locked, take commands again."""
    await connection.execute(RELEASE, wallet_id)

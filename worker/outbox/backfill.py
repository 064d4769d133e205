"""Events made again from the ledger: what a stream lacks, and what proves that it lacks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import raw_connection
from worker.ledger.entry import Constants, Entry, NewEvent, new_event
from worker.outbox.run import Run

# The wallet's metadata as of an entry stands in the latest entry at or before it that changed it.
LOAD_ENTRIES = """
SELECT entry.wallet_id::text, entry.version, entry.event_id::text, entry.event_type, entry.command_id::text,
       entry.amount, entry.balance, entry.held_balance, entry.status, entry.wallet_metadata,
       entry.counterparty_wallet_id::text, entry.transfer_id::text, entry.group_id::text, entry.hold, entry.reason,
       entry.reference, entry.metadata, entry.correlation_id, entry.traceparent, entry.occurred_at,
       wallet.owner_id, wallet.currency, wallet.created_at,
       coalesce((SELECT changed.wallet_metadata FROM ledger AS changed
                 WHERE changed.wallet_id = entry.wallet_id AND changed.version <= entry.version
                       AND changed.wallet_metadata IS NOT NULL
                 ORDER BY changed.version DESC LIMIT 1), '{}')
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS wanted(wallet_id, first, last)
JOIN ledger AS entry ON entry.wallet_id = wanted.wallet_id AND entry.version BETWEEN wanted.first AND wanted.last
JOIN wallets AS wallet ON wallet.id = entry.wallet_id
ORDER BY entry.wallet_id, entry.version
"""

READ_VERSIONS = "SELECT id::text, version FROM wallets WHERE id = ANY($1::uuid[])"

BACKFILL_EVENTS_MAX = 5_000
"""At most this many events of a wallet at once: a stream that lacks more is mended in several steps."""


async def load_runs(engine: AsyncEngine, ranges: Mapping[str, tuple[int, int]]) -> dict[str, Run]:
    """The runs of the wallets in `ranges`, from the first to the last version, both included, made from the ledger.

    A range of more than `BACKFILL_EVENTS_MAX` is cut to its beginning. A wallet without entries there is left out.
    """
    wallet_ids = list(ranges)
    firsts = [ranges[id_][0] for id_ in wallet_ids]
    lasts = [min(ranges[id_][1], ranges[id_][0] + BACKFILL_EVENTS_MAX - 1) for id_ in wallet_ids]
    events: dict[str, list[NewEvent]] = {}
    async with raw_connection(engine) as connection:
        for row in await connection.fetch(LOAD_ENTRIES, wallet_ids, firsts, lasts):
            columns = tuple(row)
            entry = Entry(*columns[: len(Entry._fields)])
            events.setdefault(entry.wallet_id, []).append(new_event(entry, Constants(*columns[len(Entry._fields) :])))
    return {wallet_id: Run(wallet_id, run) for wallet_id, run in events.items()}


async def load_proofs(engine: AsyncEngine, made: Mapping[str, int]) -> list[Run]:
    """For each wallet in `made`, its event of that version alone, made from the ledger."""
    return list((await load_runs(engine, {id_: (version, version) for id_, version in made.items()})).values())


async def read_versions(engine: AsyncEngine, wallet_ids: Iterable[str]) -> dict[str, int]:
    """The versions at which the wallets stand in Postgres."""
    async with raw_connection(engine) as connection:
        return {row[0]: row[1] for row in await connection.fetch(READ_VERSIONS, list(wallet_ids))}

"""Events made again from the ledger: what a stream lacks, and what proves that it lacks nothing.

Reads only, so every function is safe to repeat, and raises `Unavailable` where Postgres does not answer now, and
`NewerFormat` where a later release wrote the ledger. What is made here equals what was appended, or would have been,
byte for byte (`ledger/entry.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import passing_failures, raw_connection
from worker.ledger.entry import Constants, Entry, NewEvent, new_event, read_entry
from worker.outbox.run import Run

# The wallet's metadata as of an entry stands in the latest entry at or before it that changed it.
LOAD_ENTRIES = """
SELECT entry.wallet_id::text, entry.version, entry.event_id::text, entry.event_type, entry.command_id::text,
       entry.amount, entry.balance, entry.held_balance, entry.status, entry.wallet_metadata,
       entry.counterparty_wallet_id::text, entry.transfer_id::text, entry.group_id::text, entry.hold, entry.reason,
       entry.reference, entry.metadata, entry.correlation_id, entry.traceparent, entry.occurred_at,
       entry.format,
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
"""About so many events at once, shared among the wallets: streams that lack more are mended in several steps."""


async def load_runs(engine: AsyncEngine, ranges: Mapping[str, tuple[int, int]]) -> dict[str, Run]:
    """The runs of the wallets in `ranges`, from the first to the last version, both included, made from the ledger.

    A range longer than the wallet's share of `BACKFILL_EVENTS_MAX` is cut to its beginning, and one with a hole before
    the hole. A wallet whose first version the ledger does not have is left out.
    """
    share = max(1, BACKFILL_EVENTS_MAX // max(1, len(ranges)))
    firsts = [first for first, _ in ranges.values()]
    lasts = [min(last, first + share - 1) for first, last in ranges.values()]
    events: dict[str, list[NewEvent]] = {}
    async with passing_failures(), raw_connection(engine) as connection:
        for row in await connection.fetch(LOAD_ENTRIES, list(ranges), firsts, lasts):
            columns = tuple(row)
            entry = read_entry(columns[: len(Entry._fields)])
            run = events.setdefault(entry.wallet_id, [])
            if entry.version == ranges[entry.wallet_id][0] + len(run):
                run.append(new_event(entry, Constants(*columns[len(Entry._fields) :])))
    return {wallet_id: Run(wallet_id, run) for wallet_id, run in events.items() if run}


async def load_proofs(engine: AsyncEngine, made: Mapping[str, int]) -> list[Run]:
    """For each wallet in `made`, its event of that version alone, made from the ledger."""
    return list((await load_runs(engine, {id_: (version, version) for id_, version in made.items()})).values())


async def read_versions(engine: AsyncEngine, wallet_ids: Iterable[str]) -> dict[str, int]:
    """The versions at which the wallets stand in Postgres."""
    async with passing_failures(), raw_connection(engine) as connection:
        return {row[0]: row[1] for row in await connection.fetch(READ_VERSIONS, list(wallet_ids))}

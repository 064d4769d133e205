"""Write what a batch decided: one statement a table, rows sorted by key, tables in one order.

The order (commands, wallets, ledger) and the sorting are the same for every writer, so that two of them wait for one
another and never in a circle. New rows are copied, which is the cheapest way into Postgres from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from worker.database import RawConnection
from worker.domain.wallet import Wallet
from worker.errors import Conflict
from worker.ledger.decide_batch import Decided, RecordedCommand
from worker.ledger.entry import Entry

# A new wallet: nothing was there to lock, so its id may be taken by now, which is a unique violation.
INSERT_WALLETS = """
INSERT INTO wallets (id, owner_id, currency, status, balance, held_balance, version, metadata, created_at, updated_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::bigint[],
                     $8::text[], $9::timestamptz[], $10::timestamptz[])
"""

# Guarded by the version that was read: a lock that did not hold must not go unnoticed where money is written.
UPDATE_WALLETS = """
UPDATE wallets AS wallet
SET status = new.status, balance = new.balance, held_balance = new.held_balance, version = new.version,
    metadata = new.metadata, updated_at = new.updated_at
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::bigint[], $6::text[], $7::timestamptz[],
            $8::bigint[])
     AS new(id, status, balance, held_balance, version, metadata, updated_at, read_version)
WHERE wallet.id = new.id AND wallet.version = new.read_version
"""

_WALLET = attrgetter(
    "id", "owner_id", "currency", "status", "balance", "held_balance", "version", "metadata", "created_at", "updated_at"
)
_CHANGES = attrgetter("id", "status", "balance", "held_balance", "version", "metadata", "updated_at")
_BY_ID = attrgetter("id")


async def persist(connection: RawConnection, decided: Decided) -> None:
    """Write everything that `decided` holds, in the open transaction.

    Raises `Conflict` where a wallet moved in spite of its lock, and what asyncpg raises.
    """
    recorded = sorted(outcome.recorded for outcome in decided.outcomes if outcome.recorded is not None)
    await _copy(connection, "commands", RecordedCommand._fields, recorded)
    await _insert_wallets(
        connection, sorted((w for id_, w in decided.wallets.items() if id_ not in decided.locked), key=_BY_ID)
    )
    await _update_wallets(connection, decided)
    entries = sorted(entry for outcome in decided.outcomes for entry in outcome.entries)
    await _copy(connection, "ledger", Entry._fields, entries)


async def _copy(
    connection: RawConnection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, records=rows, columns=columns)


async def _insert_wallets(connection: RawConnection, wallets: Sequence[Wallet]) -> None:
    if wallets:
        await connection.execute(INSERT_WALLETS, *zip(*map(_WALLET, wallets), strict=True))


async def _update_wallets(connection: RawConnection, decided: Decided) -> None:
    changes = [
        (*_CHANGES(wallet), decided.locked[id_].version)
        for id_, wallet in sorted(decided.wallets.items())
        if id_ in decided.locked and wallet is not decided.locked[id_]
    ]
    if changes:
        done = await connection.execute(UPDATE_WALLETS, *zip(*changes, strict=True))
        if done != f"UPDATE {len(changes)}":
            raise Conflict(f"a locked wallet moved: {done} where {len(changes)} wallets were to change")

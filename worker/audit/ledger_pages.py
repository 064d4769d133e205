"""Postgres in pages: the ledger in order, by wallet and version, with the rows of wallets and holds beside it.

A page is read in one snapshot, so a row and its entries always belong together, however busy the wallet is. Memory is
bounded by the page, not by a wallet: a wallet with many entries runs over several pages.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.fold_hold import hold_of
from worker.audit.stores import postgres_errors
from worker.contracts.status import WalletStatus
from worker.database import RawConnection, raw_connection
from worker.domain.wallet import Hold, Wallet
from worker.ledger.entry import Entry, read_entry
from worker.ledger.lock import fetch_holds

FIRST_ID = "00000000-0000-0000-0000-000000000000"
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The last column: whether the entry's command says that it made this entry.
READ_ENTRIES = """
SELECT entry.wallet_id::text, entry.version, entry.event_id::text, entry.event_type, entry.command_id::text,
       entry.amount, entry.balance, entry.held_balance, entry.status, entry.wallet_metadata,
       entry.counterparty_wallet_id::text, entry.transfer_id::text, entry.group_id::text, entry.hold, entry.reason,
       entry.reference, entry.metadata, entry.correlation_id, entry.traceparent, entry.occurred_at,
       entry.format,
       EXISTS (SELECT FROM commands, unnest(event_wallet_ids, event_versions) AS made(wallet_id, version)
               WHERE commands.command_id = entry.command_id
                     AND made.wallet_id = entry.wallet_id AND made.version = entry.version)
FROM ledger AS entry
WHERE (entry.wallet_id, entry.version) > ($1::uuid, $2::bigint) AND entry.wallet_id <= $3::uuid
ORDER BY entry.wallet_id, entry.version
LIMIT $4
"""

READ_WALLETS = """
SELECT id::text, owner_id, currency, status, balance, held_balance, version, metadata, created_at, updated_at
FROM wallets
WHERE id BETWEEN $1::uuid AND $2::uuid
ORDER BY id
"""

_STATUS = {status.value: status for status in WalletStatus}


class Key(NamedTuple):
    """A place in the ledger's order."""

    wallet_id: str
    version: int


class Page(NamedTuple):
    """A stretch of the ledger in one snapshot, with the rows of all wallets from its first to its last.

    `holds` are the rows of the holds that its entries name, by id. `unlisted` are those of its entries that their
    command does not know of. `end` is the key that the next page begins behind; None where this is the last page.
    """

    entries: list[Entry]
    unlisted: frozenset[Key]
    wallets: dict[str, Wallet]
    holds: dict[str, Hold]
    end: Key | None


async def read_page(engine: AsyncEngine, behind: Key, last_id: str, limit: int) -> Page:
    """At most `limit` entries behind the key `behind`, up to the wallet `last_id` at most; raises `NewerFormat`."""
    with postgres_errors():
        async with raw_connection(engine) as connection, connection.transaction(isolation="repeatable_read"):
            rows = await connection.fetch(READ_ENTRIES, behind.wallet_id, behind.version, last_id, limit)
            columns = [tuple(row) for row in rows]
            entries = [read_entry(row[:-1]) for row in columns]
            end = Key(*entries[-1][:2]) if len(entries) == limit else None
            wallets = await _read_wallets(connection, behind.wallet_id, end.wallet_id if end else last_id)
            holds = await fetch_holds(
                connection, {hold.id for entry in entries if (hold := hold_of(entry)) is not None}
            )
    unlisted = frozenset(Key(*row[:2]) for row in columns if not row[-1])
    return Page(entries, unlisted, wallets, holds, end)


async def _read_wallets(connection: RawConnection, first_id: str, last_id: str) -> dict[str, Wallet]:
    rows = await connection.fetch(READ_WALLETS, first_id, last_id)
    return {
        id_: Wallet(id_, owner_id, currency, _STATUS[status], *rest) for id_, owner_id, currency, status, *rest in rows
    }

"""A wallet as it was at a version, or at a time, from the ledger.

An entry says what the wallet was after it, so one entry is the answer, and nothing is added up. Entries never change:
what is told of a moment that has passed is told for ever. However long the wallet's ledger is, each read goes by the
primary key or an index; only the wallet's holds are all looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.ledger_pages import Key, read_page
from worker.audit.stores import open_postgres, postgres_errors
from worker.contracts.events import EventType
from worker.contracts.money import ZERO
from worker.contracts.status import HoldStatus, WalletStatus
from worker.contracts.times import format_time
from worker.database import RawConnection, raw_connection
from worker.domain.wallet import NO_METADATA, Hold, Wallet
from worker.errors import Contradiction
from worker.ledger.entry import Entry
from worker.ledger.lock import fetch_holds
from worker.settings import Settings

READ_NEWEST = "SELECT version FROM wallets WHERE id = $1::uuid"
READ_OCCURRED_AT = "SELECT occurred_at FROM ledger WHERE wallet_id = $1::uuid AND version = $2"

# Only creations with metadata and updates of it have one, and they have an index of their own.
READ_METADATA = """
SELECT wallet_metadata FROM ledger
WHERE wallet_id = $1::uuid AND version <= $2 AND wallet_metadata IS NOT NULL
ORDER BY version DESC
LIMIT 1
"""

# A hold changes once, when it ends: `updated_at` of one that is not active is the time of its end.
FIND_HOLDS = """
SELECT id::text FROM holds
WHERE wallet_id = $1::uuid AND created_at <= $2 AND (status = 'ACTIVE' OR updated_at >= $2)
"""

# The entries of one instant are told apart by their versions: a batch has one time.
READ_HOLD_ENTRIES = """
SELECT event_type, hold FROM ledger
WHERE wallet_id = $1::uuid AND version > $2 AND version <= $3 AND hold IS NOT NULL
"""

Moment = datetime | int
"""When: a time, or a version."""


@dataclass(frozen=True, slots=True)
class Past:
    """A wallet as it was, the entry that made it so, and the holds that were active then, the oldest first."""

    wallet: Wallet
    entry: Entry
    holds: Sequence[Hold]


@dataclass(frozen=True, slots=True)
class NotThere:
    """There was no such wallet then, or there is no such version yet; `reason` is one line."""

    reason: str


async def see_past(settings: Settings, wallet_id: str, moment: Moment) -> Past | NotThere:
    """The wallet at the version `moment`, or after its last entry at or before the time `moment`.

    Raises `Unavailable` where Postgres is away, and `Contradiction` where the ledger has a hole there.
    """
    async with open_postgres(settings) as engine:
        return await read_past(engine, wallet_id, moment)


async def read_past(engine: AsyncEngine, wallet_id: str, moment: Moment) -> Past | NotThere:
    """The same over `engine`."""
    with postgres_errors():
        async with raw_connection(engine) as connection:
            newest = await connection.fetchval(READ_NEWEST, wallet_id)
            if newest is None:
                return NotThere(f"Postgres has no wallet {wallet_id}")
            if isinstance(moment, datetime):
                version = await _last_version(connection, wallet_id, moment, newest)
            else:
                version = moment
            if version < 0:
                created_at = format_time(await _occurred_at(connection, wallet_id, 0))
                return NotThere(f"there was no wallet {wallet_id} yet: it was created at {created_at}")
            if version > newest:
                return NotThere(f"wallet {wallet_id} has no version {version} yet: it is at version {newest}")
    return await _read_version(engine, wallet_id, version, newest)


async def _read_version(engine: AsyncEngine, wallet_id: str, version: int, newest: int) -> Past:
    page = await read_page(engine, Key(wallet_id, version - 1), wallet_id, limit=1)
    row = page.wallets.get(wallet_id)
    if row is None or not page.entries or page.entries[0].version != version:
        raise _hole(wallet_id, version)
    entry = page.entries[0]
    with postgres_errors():
        async with raw_connection(engine) as connection:
            metadata = await connection.fetchval(READ_METADATA, wallet_id, version)
            holds = await _read_holds(connection, entry, newest) if entry.held_balance else []
    wallet = row._replace(
        status=WalletStatus(entry.status),
        balance=entry.balance,
        held_balance=entry.held_balance,
        version=version,
        metadata=metadata or NO_METADATA,
        updated_at=entry.occurred_at,
    )
    return Past(wallet, entry, holds)


async def _last_version(connection: RawConnection, wallet_id: str, time: datetime, newest: int) -> int:
    """The last version at or before `time`, -1 where there is none.

    Times never run backwards in a stream (contract, "Commands", last rule), so it is found by halving: 20 reads by
    primary key for a million entries, wherever in them it is.
    """
    low, high = -1, newest
    while low < high:
        middle = (low + high + 1) // 2
        if await _occurred_at(connection, wallet_id, middle) <= time:
            low = middle
        else:
            high = middle - 1
    return low


async def _occurred_at(connection: RawConnection, wallet_id: str, version: int) -> datetime:
    occurred_at: datetime | None = await connection.fetchval(READ_OCCURRED_AT, wallet_id, version)
    if occurred_at is None:
        raise _hole(wallet_id, version)
    return occurred_at


async def _read_holds(connection: RawConnection, entry: Entry, newest: int) -> list[Hold]:
    """The holds that were active after `entry`, as they were then."""
    wallet_id, time = entry.wallet_id, entry.occurred_at
    found = await fetch_holds(connection, [row[0] for row in await connection.fetch(FIND_HOLDS, wallet_id, time)])
    last = await _last_version(connection, wallet_id, time, newest)
    placed_later: set[str] = set()
    ended_later: set[str] = set()
    for event_type, hold in await connection.fetch(READ_HOLD_ENTRIES, wallet_id, entry.version, last):
        later = placed_later if event_type == EventType.HOLD_PLACED else ended_later
        later.add(orjson.loads(hold)["holdId"])
    active = [
        _as_placed(hold)
        for id_, hold in found.items()
        if id_ not in placed_later
        and (hold.status == HoldStatus.ACTIVE or hold.updated_at > time or id_ in ended_later)
    ]
    return sorted(active, key=lambda hold: (hold.created_at, hold.id))


def _as_placed(hold: Hold) -> Hold:
    return hold._replace(
        status=HoldStatus.ACTIVE,
        captured_amount=ZERO,
        released_at=None,
        captured_at=None,
        updated_at=hold.created_at,
    )


def _hole(wallet_id: str, version: int) -> Contradiction:
    return Contradiction(f"the ledger of wallet {wallet_id} lacks version {version}: `wallex verify` says what else")

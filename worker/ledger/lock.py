"""Lock all wallets of a batch, fetch its holds, then read the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple, cast

import asyncpg

from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.database import RawConnection
from worker.domain.wallet import Hold, Wallet
from worker.errors import Conflict, ForeignStore

# Sorted, in one statement: batches that share wallets wait for one another, and never in a circle.
LOCK_WALLETS = """
SELECT id::text, owner_id, currency, status, balance, held_balance, version, metadata, created_at, updated_at,
       quarantined_at
FROM wallets
WHERE id = ANY($1::uuid[])
ORDER BY id
FOR UPDATE
"""

# For a transaction that holds others already: waiting for a wallet that sorts before one of them could close a circle.
LOCK_FREE_WALLETS = f"{LOCK_WALLETS} NOWAIT"

# By id, whatever their status or wallet: an id that another wallet used is taken, and its hold is not found here. Not
# locked: whoever changes a hold has its wallet locked, and a new one under the same id is a unique violation.
FETCH_HOLDS = """
SELECT id::text, wallet_id::text, amount, captured_amount, status, type, reference, metadata,
       expires_at, released_at, captured_at, created_at, updated_at
FROM holds
WHERE id = ANY($1::uuid[])
"""

# The statement's own time, not the transaction's: what waited for its locks must not be decided in the past. And
# whether a wallet is there by now that was not when the locks were asked for: a statement that waits for a row sees it
# as it is afterwards, but no row that was made meanwhile. And whether these are the tables that the session connected
# to: once a transaction has asked for wallets, nobody can take them away under it.
READ_CLOCK = """
SELECT clock_timestamp(), EXISTS (SELECT FROM wallets WHERE id = ANY($1::uuid[])),
       (SELECT id::text FROM installation) IS NOT DISTINCT FROM current_setting('wallex.installation', true)
"""

# Which of these wallets somebody else has locked: skipping the locked ones tells them from the others at once.
BUSY_WALLETS = """
SELECT id::text FROM wallets WHERE id = ANY($1::uuid[])
EXCEPT
SELECT id::text FROM (SELECT id FROM wallets WHERE id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED) AS free
"""

REPLACED = (
    "Postgres: the database was emptied, replaced or adopted while this process ran, and is another installation's. "
    "Nothing was done in it. Bring the database back that belongs to this KurrentDB; where a store was replaced on "
    "purpose, see `wallex installation show`, and docs/operating.md, Stores that belong together"
)

_STATUS = {status.value: status for status in WalletStatus}
_HOLD_STATUS = {status.value: status for status in HoldStatus}
_HOLD_TYPE = {type_.value: type_ for type_ in HoldType}


class Locked(NamedTuple):
    """The wallets that exist, by id, and since when each quarantined one of them is that."""

    wallets: dict[str, Wallet]
    quarantined: dict[str, datetime]


async def lock_wallets(connection: RawConnection, ids: Collection[str]) -> Locked:
    """Lock the wallets that exist, until the transaction ends, and return them."""
    return _locked(await connection.fetch(LOCK_WALLETS, sorted(ids)))


async def lock_free_wallets(connection: RawConnection, ids: Collection[str]) -> Locked:
    """The same without waiting: raises asyncpg's `LockNotAvailableError` where another transaction has one of them."""
    return _locked(await connection.fetch(LOCK_FREE_WALLETS, sorted(ids)))


async def fetch_holds(connection: RawConnection, ids: Collection[str]) -> dict[str, Hold]:
    """Return the holds that exist, by id, once their wallets are locked."""
    if not ids:
        return {}
    return {
        id_: Hold(id_, wallet_id, amount, captured, _HOLD_STATUS[status], _HOLD_TYPE[type_], *rest)
        for id_, wallet_id, amount, captured, status, type_, *rest in await connection.fetch(FETCH_HOLDS, sorted(ids))
    }


async def read_clock(connection: RawConnection, absent: Collection[str] = ()) -> datetime:
    """Postgres's time, which is the only time that decides (contract, "Commands", last rule).

    `absent` are the wallets that were not there to be locked. Raises `Conflict` where one of them is there now: whoever
    made it may have changed the others too, and to see one of these without the other would be a time that never was.
    `ForeignStore`: these are not the tables that were there when the session began.
    """
    (now, is_there, is_ours), *_ = await connection.fetch(READ_CLOCK, list(absent))
    if not is_ours:
        raise ForeignStore(REPLACED)
    if is_there:
        raise Conflict("a wallet was made while the locks of others were waited for")
    return cast(datetime, now)


async def find_busy_wallets(connection: RawConnection, ids: Collection[str]) -> frozenset[str]:
    """Which of the wallets `ids` another transaction has locked at this moment."""
    return frozenset(row[0] for row in await connection.fetch(BUSY_WALLETS, sorted(ids)))


def _locked(rows: Iterable[asyncpg.Record]) -> Locked:
    wallets, quarantined = {}, {}
    for id_, owner_id, currency, status, *rest, quarantined_at in rows:
        wallets[id_] = Wallet(id_, owner_id, currency, _STATUS[status], *rest)
        if quarantined_at is not None:
            quarantined[id_] = quarantined_at
    return Locked(wallets, quarantined)

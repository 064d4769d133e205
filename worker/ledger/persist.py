"""Write what a batch decided: one statement a table, rows sorted by key, tables in one order.

The order (commands, wallets, holds, ledger) and the sorting are the same for every writer, so that two of them wait for
one another and never in a circle. New rows are copied, which is the cheapest way into Postgres from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from worker.contracts.envelope import CORRELATION_ID, SPRING_CORRELATION_ID
from worker.database import RawConnection
from worker.domain.wallet import Hold, Wallet
from worker.errors import Conflict
from worker.ledger.decide_batch import Decided, RecordedCommand
from worker.ledger.entry import Entry

T = TypeVar("T")

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

# A hold whose wallet is locked cannot have moved; that it is still active is asked again where money is written.
UPDATE_HOLDS = """
UPDATE holds AS hold
SET status = new.status, captured_amount = new.captured_amount, released_at = new.released_at,
    captured_at = new.captured_at, updated_at = new.updated_at
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
     AS new(id, status, captured_amount, released_at, captured_at, updated_at)
WHERE hold.id = new.id AND hold.status = 'ACTIVE'
"""

_CHANGES = attrgetter("id", "status", "balance", "held_balance", "version", "metadata", "updated_at")
_HOLD_CHANGES = attrgetter("id", "status", "captured_amount", "released_at", "captured_at", "updated_at")
_WALLET_COLUMNS = Wallet._fields
_HOLD_COLUMNS = (*Hold._fields, "reply_topic", "correlation_id", "kafka_correlation_id")


async def persist(connection: RawConnection, decided: Decided) -> None:
    """Write everything that `decided` holds, in the open transaction.

    Raises `Conflict` where a wallet or a hold moved in spite of the lock, and what asyncpg raises.
    """
    recorded = sorted(outcome.recorded for outcome in decided.outcomes if outcome.recorded is not None)
    await _copy(connection, "commands", RecordedCommand._fields, recorded)
    new_wallets, changed_wallets = _new_and_changed(decided.wallets, decided.locked.wallets)
    await _copy(connection, "wallets", _WALLET_COLUMNS, new_wallets)
    changes = [(*_CHANGES(wallet), decided.locked.wallets[wallet.id].version) for wallet in changed_wallets]
    await _update(connection, UPDATE_WALLETS, changes)
    new_holds, changed_holds = _new_and_changed(decided.holds, decided.locked.holds)
    await _copy(connection, "holds", _HOLD_COLUMNS, [(*hold, *_answered_at(decided, hold)) for hold in new_holds])
    await _update(connection, UPDATE_HOLDS, [_HOLD_CHANGES(hold) for hold in changed_holds])
    entries = sorted(entry for outcome in decided.outcomes for entry in outcome.entries)
    await _copy(connection, "ledger", Entry._fields, entries)


def _new_and_changed(after: Mapping[str, T], before: Mapping[str, T]) -> tuple[list[T], list[T]]:
    """What was not there before, and what is not as it was, each sorted by id."""
    new = [after[id_] for id_ in sorted(after) if id_ not in before]
    return new, [after[id_] for id_ in sorted(after) if id_ in before and after[id_] is not before[id_]]


def _answered_at(decided: Decided, hold: Hold) -> tuple[str, bytes | None, bytes | None]:
    """Where the hold's command is answered, and with which correlation ids: its expiry is answered there too."""
    envelope = decided.placed[hold.id]
    given = dict(envelope.correlation)
    return envelope.reply_topic, given.get(CORRELATION_ID), given.get(SPRING_CORRELATION_ID)


async def _copy(
    connection: RawConnection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, records=rows, columns=columns)


async def _update(connection: RawConnection, statement: str, changes: Sequence[tuple[object, ...]]) -> None:
    if changes:
        done = await connection.execute(statement, *zip(*changes, strict=True))
        if done != f"UPDATE {len(changes)}":
            raise Conflict(f"a locked row moved: {done} where {len(changes)} rows were to change")

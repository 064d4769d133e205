"""A batch in one Postgres transaction: recall, lock, decide, persist.

Promises: all of the batch or none of it; commands take effect in the order given; a command that ran before is not run
again, its first reply comes back. Relies on: the wallets being locked before anything is read, so that what is decided
here is decided on what is true. Safe to repeat: whatever was committed is recalled.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.crash_points import crash_point
from worker.database import RawConnection, raw_transaction
from worker.domain.decide import hold_ids, wallet_ids
from worker.domain.wallet import Book
from worker.ledger.decide_batch import Decided, Failed, Outcome, Received, decide_batch, fail
from worker.ledger.lock import fetch_holds, lock_wallets, read_clock
from worker.ledger.persist import persist
from worker.ledger.recall import recall


async def run_batch(engine: AsyncEngine, batch: Sequence[Received]) -> list[Outcome]:
    """Run `batch` in one transaction and commit it: one outcome for each command, in order.

    Raises what asyncpg raises (`from_postgres` says what it means), or `Conflict` where a wallet was made
    while locks were waited for, or moved in spite of its lock. After an error that is not the server's own answer,
    whether it was committed is unknown: run it again.
    """
    async with raw_transaction(engine) as connection:
        outcomes = await run_in(connection, batch)
    crash_point("commit")
    return outcomes


async def run_in(connection: RawConnection, batch: Sequence[Received]) -> list[Outcome]:
    """Run `batch` in an open transaction, which the caller commits; raises as `run_batch` does."""
    named = {id_ for received in batch for id_ in wallet_ids(received.command)}
    locked = await lock_wallets(connection, named)
    holds = await fetch_holds(connection, {id_ for received in batch for id_ in hold_ids(received.command)})
    crash_point("lock")
    ran = await recall(connection, [received.command.command_id for received in batch])
    now = await read_clock(connection, named - locked.wallets.keys())
    decided = decide_batch(batch, Book(locked.wallets, holds, locked.quarantined), ran, now)
    await persist(connection, decided)
    crash_point("persist")
    return decided.outcomes


async def record_failure(engine: AsyncEngine, failed: Failed) -> Outcome:
    """Record that a command failed for an unexpected reason and took no effect, unless it ran after all.

    Raises what asyncpg raises.
    """
    async with raw_transaction(engine) as connection:
        ran = await recall(connection, [failed.command_id])
        decided = Decided(await read_clock(connection), Book({}, {}), {}, {}, ran)
        fail(failed, decided)
        await persist(connection, decided)
    return decided.outcomes[0]

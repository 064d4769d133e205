"""Postgres as the ledger leaves it: run commands, look at the books, wait for one transaction to wait for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal

import asyncpg
from pytest import MonkeyPatch
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.commands import Command
from tests.support.postgres import administrator
from tests.support.received import received
from worker.database import RawConnection, create_engine, raw_connection
from worker.ledger import batch
from worker.ledger.decide_batch import Outcome, Received
from worker.ledger.settle import Parked, settle
from worker.settings import Settings

# A wallet is its entries: as many as its version says, without a gap, the last one's balances its own, and what they
# moved and reserved together; what is held is what its active holds reserve.
WRONG_WALLETS = """
SELECT wallet.id::text, wallet.version, wallet.balance, book.*
FROM wallets AS wallet
LEFT JOIN LATERAL (
    SELECT count(*) AS entries, max(version) AS last, (array_agg(balance ORDER BY version DESC))[1] AS last_balance,
           (array_agg(held_balance ORDER BY version DESC))[1] AS last_held,
           sum(CASE WHEN event_type IN ('WalletCreated', 'WalletCredited') THEN amount
                    WHEN event_type IN ('WalletDebited', 'HoldCaptured') THEN -amount ELSE 0 END) AS moved,
           sum(CASE WHEN event_type = 'HoldPlaced' THEN amount
                    WHEN event_type LIKE 'Hold%' THEN -(hold::jsonb ->> 'amount')::numeric ELSE 0 END) AS reserved
    FROM ledger WHERE wallet_id = wallet.id
) AS book ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS active FROM holds WHERE wallet_id = wallet.id AND status = 'ACTIVE'
) AS holds ON true
WHERE (entries, last, last_balance, moved, last_held, reserved, active)
      IS DISTINCT FROM (wallet.version + 1, wallet.version, wallet.balance, wallet.balance, wallet.held_balance,
                        wallet.held_balance, wallet.held_balance)
"""

# An entry belongs to a command that says so, and a command's entries are there.
ENTRIES_AND_COMMANDS = """
SELECT (SELECT array_agg((command_id, wallet_id, version) ORDER BY wallet_id, version) FROM ledger)
       IS NOT DISTINCT FROM
       (SELECT array_agg((command_id, wallet_id, version) ORDER BY wallet_id, version)
        FROM commands, unnest(event_wallet_ids, event_versions) AS made(wallet_id, version))
"""

# Nothing of such a command can be written: as a bug of ours would have it.
FAIL_COMMANDS = """
CREATE FUNCTION fail_commands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN RAISE EXCEPTION 'this one fails'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail_commands BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION fail_commands();
"""

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"


@asynccontextmanager
async def engine_of(environment: Mapping[str, str]) -> AsyncIterator[AsyncEngine]:
    """An engine such as each worker has one."""
    engine = create_engine(Settings.load(environment))
    try:
        yield engine
    finally:
        await engine.dispose()


async def run(engine: AsyncEngine, *commands: Command | Received) -> list[Outcome]:
    """Run the commands as one batch; none of them may be left waiting."""
    asked = [command if isinstance(command, Received) else received(command) for command in commands]
    outcomes = await settle(engine, asked, Parked())
    assert None not in outcomes
    return [outcome for outcome in outcomes if outcome is not None]


async def balances(engine: AsyncEngine) -> dict[str, tuple[Decimal, int]]:
    """Each wallet's balance and version, after the books were compared with the wallets and with the commands."""
    async with raw_connection(engine) as connection:
        assert await connection.fetch(WRONG_WALLETS) == []
        assert await connection.fetchval(ENTRIES_AND_COMMANDS)
        return {
            row[0]: (row[1], row[2]) for row in await connection.fetch("SELECT id::text, balance, version FROM wallets")
        }


async def states(engine: AsyncEngine) -> dict[str, tuple[str, str, int]]:
    """Each wallet's balance, held balance and version, after the books were checked."""
    await balances(engine)
    query = "SELECT id::text, balance::text, held_balance::text, version FROM wallets"
    async with raw_connection(engine) as connection:
        return {row[0]: tuple(row[1:]) for row in await connection.fetch(query)}


async def recorded(engine: AsyncEngine, command_id: str) -> list[tuple[int, str | None]]:
    """The attempts at a command and their error codes, as they are stored."""
    query = "SELECT attempt, error_code FROM commands WHERE command_id = $1::uuid ORDER BY attempt"
    async with raw_connection(engine) as connection:
        return [tuple(row) for row in await connection.fetch(query, command_id)]


async def until_waiting(environment: Mapping[str, str], sessions: int = 1) -> None:
    """Wait until so many sessions of this database wait for somebody's lock."""
    async with administrator(environment) as admin:
        while await admin.fetchval(WAITING, environment["DB_NAME"]) < sessions:  # noqa: ASYNC110 -- the server has no event to wait for
            await asyncio.sleep(0.01)


async def until_over(environment: Mapping[str, str], time: datetime) -> None:
    """Wait until a time is over by Postgres's clock, which is the worker's."""
    async with administrator(environment, environment["DB_NAME"]) as connection:
        while not await connection.fetchval("SELECT clock_timestamp() > $1", time):  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fail_one_command(environment: Mapping[str, str], command_id: str) -> AsyncIterator[None]:
    """Let a command fail in Postgres inside the block, whenever it would make an event."""
    async with fail_commands(environment, f"NEW.command_id = '{command_id}'"):
        yield


@asynccontextmanager
async def fail_commands(environment: Mapping[str, str], condition: str) -> AsyncIterator[None]:
    """Let commands fail in Postgres inside the block, whenever they would make an entry, NEW, of this SQL condition."""
    async with administrator(environment, environment["DB_NAME"]) as connection:
        await connection.execute(FAIL_COMMANDS.format(condition=condition))
        yield
        await connection.execute("DROP FUNCTION fail_commands CASCADE")


@asynccontextmanager
async def foreign_transaction(environment: Mapping[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's transaction in this database, rolled back after the block."""
    async with administrator(environment, environment["DB_NAME"]) as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


def stop_clock(monkeypatch: MonkeyPatch, instant: datetime) -> None:
    """Let every batch of this process be decided at `instant`."""

    async def read_clock(_connection: RawConnection, _absent: Collection[str] = ()) -> datetime:
        return instant

    monkeypatch.setattr(batch, "read_clock", read_clock)


def codes(outcomes: Sequence[Outcome | None]) -> list[str | None]:
    """What became of each command: an error code, "accepted", or None for one that waits."""
    return [outcome and (outcome.error_code or "accepted") for outcome in outcomes]

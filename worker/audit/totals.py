"""What holds over all wallets: money is conserved, held money is what holds reserve, commands made what they say.

Each is one statement or a page of one, so each sees one state of the database: what differs here is not in flight.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.parts import Pace
from worker.audit.report import NONE, Difference, Store
from worker.audit.stores import postgres_errors
from worker.contracts.money import format_money
from worker.database import raw_connection

PAGE_COMMANDS = 20_000
COUNT = "SELECT count(*), coalesce(sum(version + 1), 0)::bigint FROM wallets"

# What moved between wallets is left out: its two halves must cancel, or the sums differ.
SUM_BALANCES = """
SELECT wallet.currency, sum(wallet.balance), coalesce(sum(booked.total), 0)
FROM wallets AS wallet
LEFT JOIN (SELECT wallet_id,
                  sum(CASE WHEN event_type IN ('WalletDebited', 'HoldCaptured') THEN -amount ELSE amount END) AS total
           FROM ledger
           WHERE event_type IN ('WalletCreated', 'WalletCredited', 'WalletDebited', 'HoldCaptured')
                 AND transfer_id IS NULL
           GROUP BY wallet_id) AS booked ON booked.wallet_id = wallet.id
GROUP BY wallet.currency
ORDER BY wallet.currency
"""

# Behind a command comes the same command's next attempt; only one of them can have made anything.
FIND_UNMADE = """
WITH page AS (
    SELECT command_id, attempt, event_wallet_ids, event_versions FROM commands
    WHERE (command_id, attempt) > ($1::uuid, $2::smallint)
    ORDER BY command_id, attempt
    LIMIT $3
), unmade AS (
    SELECT made.wallet_id, made.version, page.command_id, entry.command_id AS found
    FROM page
    CROSS JOIN unnest(event_wallet_ids, event_versions) AS made(wallet_id, version)
    LEFT JOIN ledger AS entry ON entry.wallet_id = made.wallet_id AND entry.version = made.version
    WHERE entry.command_id IS DISTINCT FROM page.command_id
)
SELECT (SELECT count(*) FROM page) AS commands, last.command_id::text AS last_id, last.attempt AS last_attempt,
       unmade.wallet_id::text, unmade.version, unmade.command_id::text, unmade.found::text
FROM (SELECT command_id, attempt FROM page ORDER BY command_id DESC, attempt DESC LIMIT 1) AS last
LEFT JOIN unmade ON true
"""

# A hold that no entry placed: the id is where an entry's text begins, and a hash join finds it without an index.
# Here and below the wallets are those of $1, or all where it is null.
FIND_STRAY_HOLDS = """
SELECT hold.wallet_id::text, hold.id::text, hold.status
FROM holds AS hold
WHERE ($1::uuid[] IS NULL OR hold.wallet_id = ANY($1::uuid[]))
      AND NOT EXISTS (SELECT FROM ledger AS entry
                      WHERE entry.wallet_id = hold.wallet_id AND entry.event_type = 'HoldPlaced'
                            AND substring(entry.hold FROM 12 FOR 36) = hold.id::text)
ORDER BY hold.wallet_id, hold.id
"""

# What a wallet holds back is what its active holds reserve.
SUM_HOLDS = """
SELECT wallet.id::text, wallet.held_balance, coalesce(sum(hold.amount), 0)
FROM wallets AS wallet
LEFT JOIN holds AS hold ON hold.wallet_id = wallet.id AND hold.status = 'ACTIVE'
WHERE ($1::uuid[] IS NULL OR wallet.id = ANY($1::uuid[]))
GROUP BY wallet.id
HAVING wallet.held_balance <> coalesce(sum(hold.amount), 0)
ORDER BY wallet.id
"""

_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


async def count_wallets(engine: AsyncEngine) -> tuple[int, int]:
    """How many wallets there are, and how many events they had."""
    ((wallets, events),) = await _fetch(engine, COUNT)
    return wallets, events


async def compare_sums(engine: AsyncEngine) -> list[Difference]:
    """For each currency, all balances are what was paid in less what was paid out."""
    rows = await _fetch(engine, SUM_BALANCES)
    return [
        Difference(
            None,
            Store.POSTGRES,
            f"sum of all {currency} balances (credits less debits)",
            format_money(booked),
            format_money(balance),
        )
        for currency, balance, booked in rows
        if balance != booked
    ]


async def compare_hold_sums(engine: AsyncEngine, wallet_ids: Collection[str] | None = None) -> list[Difference]:
    """Each hold was placed by an entry, and each wallet's held balance is what its active holds reserve.

    Of the wallets `wallet_ids`, or of all.
    """
    ids = None if wallet_ids is None else list(wallet_ids)
    stray = [
        Difference(wallet_id, Store.POSTGRES, f"holds row {hold_id}", NONE, status)
        for wallet_id, hold_id, status in await _fetch(engine, FIND_STRAY_HOLDS, ids)
    ]
    sums = [
        Difference(wallet_id, Store.POSTGRES, "sum of active holds", format_money(held), format_money(reserved))
        for wallet_id, held, reserved in await _fetch(engine, SUM_HOLDS, ids)
    ]
    return stray + sums


async def compare_commands(engine: AsyncEngine, pace: Pace) -> AsyncIterator[Difference]:
    """Each event that a row of `commands` lists is in the ledger, under that command."""
    command_id, attempt, found = _BEFORE_ALL, 0, PAGE_COMMANDS
    while found == PAGE_COMMANDS:
        rows = await _fetch(engine, FIND_UNMADE, command_id, attempt, PAGE_COMMANDS)
        if not rows:
            return
        found, command_id, attempt = rows[0][:3]
        for _, _, _, wallet_id, version, unmade, other in rows:
            if wallet_id is not None:
                yield _unmade(wallet_id, version, unmade, other)
        await pace()


async def _fetch(engine: AsyncEngine, query: str, *arguments: object) -> list[asyncpg.Record]:
    with postgres_errors():
        async with raw_connection(engine) as connection:
            return await connection.fetch(query, *arguments)


def _unmade(wallet_id: str, version: int, command_id: str, other: str | None) -> Difference:
    found = f"of command {other}" if other else NONE
    return Difference(wallet_id, Store.POSTGRES, f"ledger {version}", f"of command {command_id}", found)

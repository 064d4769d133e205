"""What holds over all wallets: money is conserved, and each command made the entries that it says.

Each is one statement or a page of one, so each sees one state of the database: what differs here is not in flight.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.report import NONE, Difference, Store
from worker.audit.stores import postgres_errors
from worker.contracts.money import format_money
from worker.database import raw_connection

PAGE_COMMANDS = 20_000
SUM_TIMEOUT_S = 600
"""Adding up the whole ledger takes its time: 100,000 entries 0.1 s, 100 million some minutes."""

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

_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


async def count_wallets(engine: AsyncEngine) -> tuple[int, int]:
    """How many wallets there are, and how many events they had."""
    with postgres_errors():
        async with raw_connection(engine) as connection:
            row = await connection.fetchrow(COUNT, timeout=SUM_TIMEOUT_S)
    assert row is not None  # noqa: S101 -- an aggregate has one row
    return row[0], row[1]


async def compare_sums(engine: AsyncEngine) -> list[Difference]:
    """For each currency, all balances are what was paid in less what was paid out."""
    with postgres_errors():
        async with raw_connection(engine) as connection, connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = '{SUM_TIMEOUT_S}s'")
            rows = await connection.fetch(SUM_BALANCES, timeout=SUM_TIMEOUT_S)
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


async def compare_commands(engine: AsyncEngine) -> AsyncIterator[Difference]:
    """Each event that a row of `commands` lists is in the ledger, under that command."""
    command_id, attempt, found = _BEFORE_ALL, 0, PAGE_COMMANDS
    while found == PAGE_COMMANDS:
        with postgres_errors():
            async with raw_connection(engine) as connection:
                rows = await connection.fetch(FIND_UNMADE, command_id, attempt, PAGE_COMMANDS)
        if not rows:
            return
        found, command_id, attempt = rows[0][:3]
        for _, _, _, wallet_id, version, unmade, other in rows:
            if wallet_id is not None:
                yield _unmade(wallet_id, version, unmade, other)


def _unmade(wallet_id: str, version: int, command_id: str, other: str | None) -> Difference:
    found = f"of command {other}" if other else NONE
    return Difference(wallet_id, Store.POSTGRES, f"ledger {version}", f"of command {command_id}", found)

"""Holds that are due, out of Postgres: a page at a time, each in a transaction that ends before the page is used.

A hold that was published is left alone for `REPUBLISH_S`, whatever became of the publishing, then for twice as long
each time, up to `REPUBLISH_S_MAX`. It comes again under the same id for as long as nothing was answered under it: what
is still on its way then is a repeat, and takes nothing but its own time. Two who claim at once never claim the same
hold, and never wait for each other. The time is Postgres's clock. Every function raises `Unavailable` where Postgres
cannot serve now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import RawConnection, passing_failures, raw_connection, raw_transaction

REPUBLISH_S = 60.0
"""An expiry that was published and did not take effect by then is published again."""
REPUBLISH_S_MAX = 3600.0
"""The wait doubles up to this, by how long the hold had been due when it was published."""
PAGE_HOLDS = 500
ATTEMPTS_LOOKED_AT = (1, 10, 100)
"""So many ids of a hold in turn, where those before were used by somebody else; the rest waits for the next time."""

# A quarantined wallet takes no commands, so its holds wait.
# Longest waiting first, along the partial index. Rows that somebody else has locked are being claimed or ended there.
# The statement's time: the clock itself would change from row to row and could not bound the index scan.
LOCK_DUE_HOLDS = """
SELECT id::text, wallet_id::text, expiry_attempts, reply_topic, correlation_id, kafka_correlation_id,
       extract(epoch FROM statement_timestamp() - expires_at)::float8,
       (extract(epoch FROM statement_timestamp()) * 1000)::int8
FROM holds
WHERE status = 'ACTIVE' AND expires_at <= statement_timestamp()
      AND NOT EXISTS (SELECT FROM wallets WHERE wallets.id = wallet_id AND quarantined_at IS NOT NULL)
      AND (expiry_published_at IS NULL
           OR $4 AND expiry_published_at <= statement_timestamp() - make_interval(
               secs => least(greatest(extract(epoch FROM expiry_published_at - expires_at)::float8, $1), $3)))
ORDER BY expires_at
LIMIT $2
FOR UPDATE SKIP LOCKED
"""

# A command that ran under the id of a hold that is still active did not end it, and never will.
FIND_USED_IDS = "SELECT command_id FROM commands WHERE command_id = ANY($1::uuid[])"

NOTE_ATTEMPTS = """
UPDATE holds SET expiry_attempts = new.attempt, expiry_published_at = clock_timestamp()
FROM unnest($1::uuid[], $2::int[]) AS new(id, attempt)
WHERE holds.id = new.id
"""

READ_LAG = """
SELECT greatest(extract(epoch FROM clock_timestamp() - expires_at), 0)::float8
FROM holds WHERE status = 'ACTIVE' AND expires_at IS NOT NULL
     AND NOT EXISTS (SELECT FROM wallets WHERE wallets.id = wallet_id AND quarantined_at IS NOT NULL)
ORDER BY expires_at LIMIT 1
"""


class DueHold(NamedTuple):
    """A hold to expire: with which attempt, where its `PlaceHold` was answered, and for how long it has been due.

    `claimed_at_ms` is Postgres's clock.
    """

    id: str
    wallet_id: str
    attempt: int
    reply_topic: str | None
    correlation_id: bytes | None
    kafka_correlation_id: bytes | None
    overdue_s: float
    claimed_at_ms: int


def expiry_id(hold_id: str, attempt: int) -> UUID:
    """The id of the command that expires a hold: UUIDv5 with the hold as namespace and the attempt as name.

    One for each attempt, so that a refusal that is stored under one cannot keep the hold from expiring.
    """
    return uuid5(UUID(hold_id), str(attempt))


async def claim_due_holds(
    engine: AsyncEngine,
    republish_s: float = REPUBLISH_S,
    page_holds: int = PAGE_HOLDS,
    republish_s_max: float = REPUBLISH_S_MAX,
    *,
    again: bool = True,
) -> list[DueHold]:
    """Claim up to `page_holds` holds that are due, longest waiting first; none, where none is left.

    They are the caller's to publish for `republish_s` seconds: after the commit nobody else gets them before. Without
    `again` only those come that were never published.
    """
    async with passing_failures(), raw_transaction(engine) as connection:
        rows = await connection.fetch(LOCK_DUE_HOLDS, republish_s, page_holds, republish_s_max, again)
        if not rows:
            return []
        locked = [DueHold(*row) for row in rows]
        attempts = await _unused_attempts(connection, locked)
        await connection.execute(NOTE_ATTEMPTS, list(attempts), list(attempts.values()))
    return [hold._replace(attempt=attempts[hold.id]) for hold in locked]


async def read_lag_s(engine: AsyncEngine) -> float:
    """For how many seconds the longest overdue hold has been due and still reserves money; 0 if there is none."""
    async with passing_failures(), raw_connection(engine) as connection:
        return float(await connection.fetchval(READ_LAG) or 0)


async def _unused_attempts(connection: RawConnection, holds: Sequence[DueHold]) -> dict[str, int]:
    """The attempt for each hold whose id no command has used: the last one, if it is not answered, or a later one.

    Anybody may have sent a command under it, early.
    """
    attempts = {hold.id: max(hold.attempt, 1) for hold in holds}
    open_ids = list(attempts)
    for width in ATTEMPTS_LOOKED_AT:
        ids = {id_: [expiry_id(id_, attempts[id_] + n) for n in range(width)] for id_ in open_ids}
        rows = await connection.fetch(FIND_USED_IDS, [one for several in ids.values() for one in several])
        used = {row[0] for row in rows}
        for id_, several in ids.items():
            attempts[id_] += next((n for n, one in enumerate(several) if one not in used), width)
        open_ids = [id_ for id_, several in ids.items() if used.issuperset(several)]
        if not open_ids:
            break
    return attempts

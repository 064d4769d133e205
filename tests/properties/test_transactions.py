"""A batch in Postgres is no more than its commands one by one: the same replies, the same rows in each table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.commands import Command
from tests.support.ledger import stop_clock
from tests.support.received import received
from tests.support.strategies import NOON, stories
from worker.database import raw_connection
from worker.ledger.batch import run_batch

READ_ROWS = {
    "wallets": "SELECT to_jsonb(row)::text FROM wallets AS row WHERE starts_with(id::text, $1) ORDER BY id",
    "holds": "SELECT to_jsonb(row)::text FROM holds AS row WHERE starts_with(id::text, $1) ORDER BY id",
    # Event ids and fingerprints are hashes that the ids go into: theirs differ.
    "ledger": """
        SELECT (to_jsonb(row) - 'event_id')::text FROM ledger AS row
        WHERE starts_with(wallet_id::text, $1) ORDER BY wallet_id, version
    """,
    "commands": """
        SELECT (to_jsonb(row) - 'fingerprint')::text FROM commands AS row
        WHERE starts_with(command_id::text, $1) ORDER BY command_id
    """,
}
numbers = count(1)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories(), cuts=st.lists(st.integers(0, 40), max_size=4))
async def test_transactions_of_any_size_leave_the_same_rows(engine, monkeypatch, story, cuts):
    """One by one, in some batches, or all at once in Postgres: the same replies, and the same rows in each table."""
    stop_clock(monkeypatch, NOON)

    at_once = await run_in_parts(engine, story, [])

    assert await run_in_parts(engine, story, cuts) == at_once
    assert await run_in_parts(engine, story, range(1, len(story))) == at_once


async def run_in_parts(engine: AsyncEngine, story: Sequence[Command], cuts: Iterable[int]) -> tuple[object, ...]:
    """Run a story under ids of its own, each part in a transaction; what came of it, under the ids of the story."""
    prefix = f"{next(numbers):08x}-"
    asked = json.loads(json.dumps(story).replace("00000000-", prefix))
    borders = [0, *sorted(cut for cut in cuts if cut < len(story)), len(story)]
    replies = []
    for start, end in pairwise(borders):
        outcomes = await run_batch(engine, [received(command) for command in asked[start:end]])
        replies += [(outcome.reply.decode().replace(prefix, "00000000-"), outcome.replayed) for outcome in outcomes]
    async with raw_connection(engine) as connection:
        rows = {table: await connection.fetch(query, prefix) for table, query in READ_ROWS.items()}
    return replies, {table: [row[0].replace(prefix, "00000000-") for row in found] for table, found in rows.items()}

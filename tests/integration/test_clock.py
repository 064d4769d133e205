"""The time that decides is Postgres's, read once the locks are held."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tests.support.commands import capture_hold, create_wallet, credit, new_id, place_hold
from tests.support.ledger import codes, foreign_transaction, run, until_over, until_waiting
from worker.ledger import lock

AHEAD = timedelta(hours=1)


async def test_a_process_whose_clock_is_an_hour_late_lets_no_hold_live_longer(engine, monkeypatch):
    """Processes on many machines decide alike: a hold is over when Postgres says so, and nobody else is asked."""
    wallet_id, hold_id = new_id(), new_id()
    end = datetime.now(UTC) + AHEAD / 2
    await run(engine, create_wallet(wallet_id), place_hold(wallet_id, hold_id, "10", expiresAt=end.isoformat()))
    ahead = lock.READ_CLOCK.replace("clock_timestamp()", "clock_timestamp() + interval '1 hour'")
    assert ahead != lock.READ_CLOCK

    monkeypatch.setattr(lock, "READ_CLOCK", ahead)

    assert codes(await run(engine, capture_hold(wallet_id, hold_id))) == ["HoldExpired"]


async def test_what_waited_for_its_locks_is_not_decided_in_the_past(environment, engine):
    """A command whose time is over while somebody sits on its wallet is refused, though its batch began in time."""
    wallet_id = new_id()
    await run(engine, create_wallet(wallet_id))

    async with foreign_transaction(environment) as somebody:
        await somebody.execute("SELECT FROM wallets WHERE id = $1::uuid FOR UPDATE", wallet_id)
        limit = datetime.now(UTC) + timedelta(seconds=0.3)
        waiting = asyncio.create_task(run(engine, credit(wallet_id, notAfter=limit.isoformat())))
        await until_waiting(environment)
        await until_over(environment, limit)

    assert codes(await waiting) == ["CommandExpired"]

"""What befalls the sessions in Postgres: ended at random, or kept waiting by somebody else's transaction."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

from chaos.faults.fault import Fault
from chaos.load import Load
from chaos.schedule import Kind, Strike
from chaos.stage import Stage
from tests.support.foreign import locked
from tests.support.postgres import administrator

EVERY_S = (0.1, 0.6)
WALLETS = 3
END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1
"""


async def end_sessions(stage: Stage, _load: Load, strike: Strike) -> None:
    """`pg_terminate_backend`, one session after another."""
    chance, over_at = random.Random(strike.seed), time.monotonic() + strike.lasts_s
    async with administrator(stage.world.environment, stage.world.environment["DB_NAME"]) as connection:
        while time.monotonic() < over_at:
            await connection.execute(END_ONE)
            await asyncio.sleep(chance.uniform(*EVERY_S))


async def sit_on_rows(stage: Stage, load: Load, strike: Strike) -> None:
    """A foreign transaction holds some wallets' rows."""
    async with AsyncExitStack() as transactions:
        for wallet in random.Random(strike.seed).sample(load.wallets, WALLETS):
            await transactions.enter_async_context(locked(stage.world, wallet))
        await asyncio.sleep(strike.lasts_s)


FAULTS = (
    Fault(Kind("end sessions", "postgres", ("postgres",), (4.0, 10.0)), "pg_terminate_backend", end_sessions),
    Fault(
        Kind("sit on rows", "postgres", ("postgres",), (5.0, 15.0)),
        "a foreign transaction locks three wallets",
        sit_on_rows,
    ),
)

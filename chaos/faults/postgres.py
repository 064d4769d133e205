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
from tests.support.ledger import fail_commands
from tests.support.postgres import administrator

EVERY_S = (0.1, 0.6)
WALLETS = 3
ONE_IN_A_HUNDRED = "abs(hashtext(NEW.command_id::text)) % 100 = 0"
END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
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


async def read_only(stage: Stage, _load: Load, strike: Strike) -> None:
    """New sessions cannot write, and the old ones are ended; then it is over, but sessions of that time live on."""
    name = stage.world.environment["DB_NAME"]
    async with administrator(stage.world.environment, name) as connection:
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            await connection.execute(END_ALL)
            await asyncio.sleep(strike.lasts_s)
        finally:
            await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


async def refuse_entries(stage: Stage, _load: Load, strike: Strike) -> None:
    """A trigger refuses some entries: their commands fail by themselves, and batches are halved to find them."""
    async with fail_commands(stage.world.environment, ONE_IN_A_HUNDRED):
        await asyncio.sleep(strike.lasts_s)


FAULTS = (
    Fault(Kind("end sessions", "postgres", ("postgres",), (4.0, 10.0)), "pg_terminate_backend", end_sessions),
    Fault(Kind("read-only Postgres", "postgres", ("postgres",), (3.0, 8.0)), "no session can write", read_only),
    Fault(
        Kind("entries refused", "postgres", ("postgres",), (8.0, 15.0)),
        "one command in a hundred fails",
        refuse_entries,
    ),
    Fault(
        Kind("sit on rows", "postgres", ("postgres",), (5.0, 15.0)),
        "a foreign transaction locks three wallets",
        sit_on_rows,
    ),
)

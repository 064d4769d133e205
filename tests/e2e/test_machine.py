"""Random commands of every type, in batches of random size, through the whole worker and beside a sequential model.

WALLEX_MACHINE_EXAMPLES gives how many stories are told, of up to eight batches each. By default they are few.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.commands import Command, record_of
from tests.support.documents import projecting
from tests.support.invariants import check
from tests.support.machine import Answered, HoldNow, WalletNow, Wallets
from tests.support.postgres import administrator
from tests.support.replies import Topic, header
from tests.support.strategies import NOON
from tests.support.world import World

EXAMPLES = int(os.environ.get("WALLEX_MACHINE_EXAMPLES", "50"))
STEPS = 8
PATIENCE_S = 60
EARLIER = timedelta(seconds=1)
"""So much of the strategies' time is over when a command is sent."""
PACE = 0.1
"""How much of a second their seconds last: a hold's time is over some batches later."""
OWN = "00000000-"
"""How every id of theirs begins."""
# Nothing is made smaller where it fails: by then it is another time, and the machine without a worker does that better.
TOLD = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)

READ_WALLETS = """
SELECT id::text, balance, held_balance, status, version, metadata FROM wallets WHERE starts_with(id::text, $1)
"""
READ_HOLDS = """
SELECT id::text, wallet_id::text, amount, captured_amount, status FROM holds WHERE starts_with(id::text, $1)
"""

Result = TypeVar("Result")

pytestmark = pytest.mark.timeout(120 + 3 * EXAMPLES)


class OverKafka:
    """A running worker, and wallets of one example's own in it; called from another thread than the loop's."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, world: World, replies: Topic, rows: asyncpg.Connection, number: int
    ) -> None:
        self._loop, self._world, self._replies, self._rows = loop, world, replies, rows
        self._prefix = f"{number:08x}-"

    def ask(self, command: Command) -> Command:
        """Ids are the example's own, and the strategies' noon is in a moment."""
        asked: Command = json.loads(json.dumps(command).replace(OWN, self._prefix))
        return from_now_on(asked, datetime.now(UTC))

    def run(self, batch: list[Command], pause: timedelta) -> list[Answered]:
        """In order, through one partition; time passes by itself."""
        return self._await(self._run(batch))

    def stands(self) -> tuple[dict[str, WalletNow], dict[str, HoldNow]]:
        """The rows of Postgres."""
        return self._await(self._stands())

    def _await(self, step: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(PATIENCE_S)

    async def _run(self, batch: list[Command]) -> list[Answered]:
        sent = await self._world.send([record_of(command, partition=0) for command in batch])
        found = await self._replies.until_answered(sent)
        return [Answered(reply.value, header(reply, "replayed") == b"true") for reply in found]

    async def _stands(self) -> tuple[dict[str, WalletNow], dict[str, HoldNow]]:
        wallets = await self._rows.fetch(READ_WALLETS, self._prefix)
        holds = await self._rows.fetch(READ_HOLDS, self._prefix)
        return (
            {id_: WalletNow(*shown, json.loads(metadata)) for id_, *shown, metadata in wallets},
            {id_: HoldNow(*shown) for id_, *shown in holds},
        )


def from_now_on(command: Command, now: datetime) -> Command:
    """`command` with its times moved near `now`: soon over, or over already."""
    times = {name: command[name] for name in ("expiresAt", "notAfter") if command.get(name)}
    moved: Command = {
        name: (now + (datetime.fromisoformat(text) - NOON - EARLIER) * PACE).isoformat() for name, text in times.items()
    }
    if "commands" in command:
        moved["commands"] = [from_now_on(part, now) for part in command["commands"]]
    return command | moved


async def test_the_worker_does_as_the_model_does(make_world, start_kurrentdb):
    """The same replies, balances, holds and versions at each step; in the end all stores agree."""
    kurrentdb = await start_kurrentdb()
    world = await make_world(1, KURRENTDB_URI=kurrentdb.uri)
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")
    loop, numbers = asyncio.get_running_loop(), count(1)

    async with projecting(world) as documents, administrator(world.environment, world.environment["DB_NAME"]) as rows:
        await asyncio.to_thread(
            run_state_machine_as_test,
            lambda: Wallets(OverKafka(loop, world, replies, rows, next(numbers))),
            settings=TOLD,
        )
        assert await worker.stop() == 0
        await documents.check(await check(world, replies))

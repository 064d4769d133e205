"""Workers that come and go in good order, while commands keep coming: nothing is lost and nothing runs twice."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

from tests.support.commands import create_wallet, new_id, transfer
from tests.support.invariants import check
from tests.support.replies import header
from tests.support.world import World

WALLETS = 20
STOPS = 5
AT_ONCE = 100
EXIT_S = 15.0


class Load:
    """Transfers that are sent for as long as the block lasts, at most `AT_ONCE` unanswered at a time."""

    def __init__(self, world: World, replies) -> None:
        self.sent: list[bytes] = []
        self._world, self._replies = world, replies
        self._wallets = [new_id() for _ in range(WALLETS)]
        self._over = False

    async def open_wallets(self) -> None:
        """Make the wallets."""
        self.sent += await self._world.send(map(create_wallet, self._wallets))
        await self._replies.until_answered(self.sent)

    async def run(self) -> None:
        """Send until it is over, then wait for the last replies."""
        while not self._over:
            pairs = [random.sample(self._wallets, 2) for _ in range(AT_ONCE)]
            ids = await self._world.send(transfer(*pair, "0.0001") for pair in pairs)
            self.sent += ids
            await self._replies.until_answered(ids[: AT_ONCE // 2])
        await self._replies.until_answered(self.sent)

    async def more(self, count: int = AT_ONCE) -> None:
        """Wait until so many more replies came."""
        enough = len(self._replies.records) + count
        while len(self._replies.records) < enough:  # noqa: ASYNC110 - `run` reads them
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self):
        """Run beside the block."""
        running = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._over = True
            await running


async def test_a_worker_that_is_asked_to_stop_finishes_what_it_began(world):
    """Exit code 0 in time, each time; no command is lost, and none is answered twice."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()

    codes = []
    async with load.running():
        for _ in range(STOPS):
            await load.more()
            codes.append(await worker.stop(EXIT_S))
            worker = world.start("a")
        await load.more()

    assert codes == [0] * STOPS
    assert await worker.stop(EXIT_S) == 0
    await check(world, replies)
    assert [header(reply, "replayed") for reply in replies.records if header(reply, "replayed")] == []


async def test_workers_that_join_and_leave_hand_over_without_a_gap(world):
    """Partitions move to whoever comes and back from whoever goes, with nothing lost and nothing done twice."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    first = world.start("a")
    await load.open_wallets()

    async with load.running():
        for name in "bc":
            other = world.start(name)
            await other.assigned()
            await load.more()
            assert await other.stop(EXIT_S) == 0
            await load.more()

    assert await first.stop(EXIT_S) == 0
    await check(world, replies)
    assert len(replies.records) - len(load.sent) <= AT_ONCE

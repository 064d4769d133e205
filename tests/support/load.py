"""Commands that keep coming while something happens to the worker or its servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.support.commands import Command, Record, create_wallet, new_id, record_of, transfer
from tests.support.replies import Topic
from tests.support.world import World

WALLETS = 20
AT_ONCE = 100
PATIENCE_S = 60.0


class Load:
    """Transfers that are sent for as long as the block lasts, at most `AT_ONCE` unanswered at a time.

    Each goes to the partition of its key, or to any of `partitions` by chance.
    """

    def __init__(self, world: World, replies: Topic, partitions: Sequence[int] = ()) -> None:
        self.sent: list[bytes] = []
        self._world, self._replies, self._partitions = world, replies, partitions
        self._wallets = [new_id() for _ in range(WALLETS)]
        self._over = False

    async def open_wallets(self) -> None:
        """Make the wallets."""
        self.sent += await self._world.send(self._record(create_wallet(id_)) for id_ in self._wallets)
        await self._replies.until_answered(self.sent)

    async def run(self) -> None:
        """Send until it is over, then wait for the last replies."""
        while not self._over:
            pairs = [random.sample(self._wallets, 2) for _ in range(AT_ONCE)]
            ids = await self._world.send(self._record(transfer(*pair, "0.0001")) for pair in pairs)
            self.sent += ids
            await self._replies.until_answered(ids[: AT_ONCE // 2])
        await self._replies.until_answered(self.sent)

    async def more(self, count: int = AT_ONCE) -> None:
        """Wait until so many more replies came."""
        enough = len(self._replies.records) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self._replies.records) < enough:  # noqa: ASYNC110 - `run` reads them
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the block."""
        running = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._over = True
            await running

    def _record(self, command: Command) -> Record:
        return record_of(command, partition=random.choice(self._partitions) if self._partitions else None)

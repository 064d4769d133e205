"""Two transactions at once, so that the second waits for what the first has written and not committed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from pytest import MonkeyPatch

from tests.support.ledger import until_waiting
from worker.database import RawConnection
from worker.ledger import batch
from worker.ledger.decide_batch import Decided, Outcome


class Gate:
    """Stands in for `persist`: holds the first transaction that has written everything and not committed."""

    def __init__(self, monkeypatch: MonkeyPatch) -> None:
        self._persist = batch.persist
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()
        self._cut = False
        monkeypatch.setattr(batch, "persist", self)

    async def __call__(self, connection: RawConnection, decided: Decided) -> None:
        await self._persist(connection, decided)
        if not self.reached.is_set():
            self.reached.set()
            await self._opened.wait()
            if self._cut:
                raise ConnectionResetError("the line was cut before the commit")

    def open(self, *, commits: bool) -> None:
        """Let the transaction commit, or lose its connection."""
        self._cut = not commits
        self._opened.set()


async def at_once(
    environment: Mapping[str, str],
    monkeypatch: MonkeyPatch,
    first: Coroutine[Any, Any, list[Outcome]],
    second: Coroutine[Any, Any, list[Outcome]],
    *,
    commits: bool,
) -> tuple[list[Outcome], list[Outcome]]:
    """Run two coroutines so that the second waits for the first's transaction, which then commits or is lost."""
    gate = Gate(monkeypatch)
    one = asyncio.create_task(first)
    await gate.reached.wait()
    two = asyncio.create_task(second)
    await until_waiting(environment)
    gate.open(commits=commits)
    return await one, await two

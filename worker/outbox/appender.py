"""Append what was committed; a wallet whose stream holds something else is quarantined, and nothing more goes into it.

A contradiction is believed when it is found twice, the second time over a new connection, to the node that leads then:
for a moment a deposed leader answers from an older state. What is believed is written to Postgres before anybody acts
upon it, so that every process refuses the wallet's commands from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.ledger.quarantine import find_quarantined, quarantine
from worker.outbox.acknowledged import Acknowledged
from worker.outbox.append import append_runs
from worker.outbox.event_store import EventStore
from worker.outbox.run import Run
from worker.retry import until_available
from worker.telemetry.metrics import WorkerMetrics

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Appender:
    """A process's appends, one after another.

    `contradictory` are the wallets of which it has found a contradiction and does not know that they were released: of
    those there may be events in flight that were decided before. Behind a contradiction one of them might fit by
    chance.
    """

    store: EventStore
    engine: AsyncEngine
    metrics: WorkerMetrics
    acknowledged: Acknowledged = field(init=False)
    contradictory: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.acknowledged = Acknowledged(self.engine)

    async def append(self, runs: Sequence[Run], proofs: Sequence[Run]) -> frozenset[str]:
        """Append `runs`, after asking for `proofs`; return the wallets whose streams contradict the ledger.

        Waits for lost servers. Safe to repeat.
        """
        named = frozenset(run.wallet_id for run in (*runs, *proofs))
        await self._forget_released(named & self.contradictory)
        found = await self._append(runs, proofs)
        if found:
            self.acknowledged.clear()
            await self.store.close()
            again = await self._append(
                [run for run in runs if run.wallet_id in found], [run for run in proofs if run.wallet_id in found]
            )
            await self._quarantine(again)
        contradictory = named & self.contradictory
        self.acknowledged.add([run for run in (*proofs, *runs) if run.wallet_id not in contradictory])
        return contradictory

    async def _append(self, runs: Sequence[Run], proofs: Sequence[Run]) -> dict[str, str]:
        """What contradicts of the wallets that are not known to, by wallet."""
        runs = [run for run in runs if run.wallet_id not in self.contradictory]
        proofs = [run for run in proofs if run.wallet_id not in self.contradictory]
        if not runs and not proofs:
            return {}
        return await append_runs(self.store, self.engine, self.metrics, runs, proofs, acknowledged=self.acknowledged)

    async def _quarantine(self, reasons: dict[str, str]) -> None:
        if reasons:
            await until_available("postgres", lambda: quarantine(self.engine, reasons))
        self.contradictory |= reasons.keys()
        for wallet_id, reason in reasons.items():
            log.error(
                "wallet_quarantined",
                wallet_id=wallet_id,
                why=reason,
                what_to_do=f"`wallex quarantine show {wallet_id}` says what each store has; its commands are refused",
            )

    async def _forget_released(self, wallet_ids: frozenset[str]) -> None:
        if wallet_ids:
            still = await until_available("postgres", lambda: find_quarantined(self.engine, wallet_ids))
            self.contradictory -= wallet_ids - still

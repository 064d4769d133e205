"""What this process has seen in the wallets' streams: the highest version of each that was written or proven.

It spares proofs, nothing else: what is forgotten is proven once more. So it is bounded, and forgotten on every sign
that a store may be another one: a new connection to Postgres (after a failover the ledger may lack its last entries),
and a stream that stands before what was acknowledged (KurrentDB was restored from an older copy).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.outbox.run import Run

WALLETS_MAX = 200_000


class Acknowledged:
    """The highest acknowledged version of each wallet. `in` says whether anything of a wallet's stream was seen."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._versions: dict[str, int] = {}
        event.listen(engine.sync_engine, "connect", lambda *_: self.clear())

    def __contains__(self, wallet_id: object) -> bool:
        return wallet_id in self._versions

    def version(self, wallet_id: str) -> int:
        """The highest acknowledged version of a wallet, -1 where nothing is known."""
        return self._versions.get(wallet_id, -1)

    def add(self, runs: Iterable[Run]) -> None:
        """The events of `runs` are in their streams."""
        if len(self._versions) > WALLETS_MAX:
            self.clear()
        for run in runs:
            self._versions[run.wallet_id] = max(run.last, self.version(run.wallet_id))

    def clear(self) -> None:
        """Forget everything."""
        self._versions.clear()

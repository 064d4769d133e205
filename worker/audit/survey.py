"""A first look through everything: which wallets are suspected to differ, and what is wrong over all of them.

KurrentDB's log is read in its own order, then the ledger with the documents by wallet, each once and in pages, while
the workers go on. So whatever looks different here is suspected, no more: it may have been in flight. Memory: a page,
and a sum for each wallet (see `EventSums`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.audit.fingerprints import EventSums
from worker.audit.part import Compared
from worker.audit.parts import Pace, Place, compare_all, full_speed
from worker.audit.report import NONE, Difference, Store
from worker.audit.stores import Stores
from worker.audit.totals import compare_commands, compare_hold_sums, compare_sums, count_wallets

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and of how much (an estimate: the stores grow meanwhile)."""
READING_LOG, READING_LEDGER = "KurrentDB's events", "ledger and documents"


def no_progress(_stage: str, _done: int, _of: int) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Survey:
    """What the look came to: how much there is, the suspected wallets, and the differences that are certain.

    How far it has come stands in it too: one that was given up because a store was away goes on where it was. `began`
    is in monotonic seconds.
    """

    wallets: int = 0
    events: int = 0
    documents: int = 0
    suspects: set[str] = field(default_factory=set)
    differences: list[Difference] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    is_log_read: bool = False
    sums: EventSums = field(default_factory=EventSums)
    place: Place = field(default_factory=Place)

    def add(self, compared: Compared) -> None:
        """Count what was compared, and suspect the wallet if anything differs."""
        self.wallets += compared.is_last
        self.events += len(compared.events)
        self.documents += compared.documents
        if compared.differences:
            self.suspects.add(compared.wallet_id)


async def survey_stores(
    stores: Stores, survey: Survey, progress: Progress = no_progress, pace: Pace = full_speed
) -> None:
    """Look through all stores once, or go on with it. Raises `Unavailable` where one is away."""
    _, of = await count_wallets(stores.engine)
    if not survey.is_log_read:
        async for done in survey.sums.add_log(stores.log):
            progress(READING_LOG, done, of)
            await pace()
        survey.is_log_read = True
    await stores.refresh()
    async for compared in compare_all(stores, survey.place, pace):
        for event in compared.events:
            survey.sums.subtract(event)
        survey.add(compared)
        progress(READING_LEDGER, survey.events, of)
    survey.suspects |= survey.sums.differing()
    survey.differences = [
        *[difference async for difference in compare_commands(stores.engine, pace)],
        *[
            Difference(None, Store.KURRENTDB, f"stream {name}", NONE, "events")
            for name in sorted(survey.sums.strangers)
        ],
    ]


async def add_up(stores: Stores, survey: Survey) -> None:
    """What holds over all wallets, in a few statements that take as long as there are rows: the last of a survey."""
    survey.differences += [*await compare_sums(stores.engine), *await compare_hold_sums(stores.engine)]

"""Postgres, KurrentDB and Elasticsearch compared, wallet by wallet; what still stands after a while is reported.

First everything is surveyed once, in pages, while the worker goes on; whatever looks different is suspected, no more.
Each suspect is then looked at closely, again and again until nothing differs or `SETTLE_S` is over: what was in flight
has arrived by then. A store must come to the version that Postgres had at the first look, so a wallet that is busy all
the time is no difference; what a store holds must be right at once. Changes nothing, and may run at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.audit.compare import Compared
from worker.audit.documents import refresh
from worker.audit.fingerprints import EventSums
from worker.audit.parts import compare_all, compare_wallet
from worker.audit.report import NONE, Difference, Report, Store
from worker.audit.stores import Stores, postgres_errors
from worker.audit.totals import compare_commands, compare_sums, count_wallets
from worker.outbox.backfill import read_versions

SETTLE_S = 10.0
"""A difference that is gone within this time was in flight (contract, "The command line")."""
LOOK_AGAIN_S = 0.5
LOOKS_AT_ONCE = 4
DIFFERENCES_MAX = 20
"""Of one wallet: the first ones tell what is wrong with it."""

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and of how much (an estimate: the stores grow meanwhile)."""

READING_LOG, READING_LEDGER, LOOKING_AGAIN = "KurrentDB's events", "ledger and documents", "what differs, again"


def _no_progress(_stage: str, _done: int, _of: int) -> None:
    """Nobody watches."""


async def verify(stores: Stores, progress: Progress = _no_progress, settle_s: float = SETTLE_S) -> Report:
    """Compare all stores. Raises `Unavailable` where one is away."""
    started = time.monotonic()
    survey = await _survey(stores, progress)
    differences = [
        *await compare_sums(stores.engine),
        *[difference async for difference in compare_commands(stores.engine)],
        *[Difference(None, Store.KURRENTDB, f"stream {name}", NONE, "events") for name in survey.strangers],
        *await _look_again(stores, survey.suspects, progress, settle_s),
    ]
    return Report(
        wallets=survey.wallets,
        events=survey.events,
        documents=survey.documents,
        seconds=time.monotonic() - started,
        differences=tuple(dict.fromkeys(sorted(differences, key=lambda one: one.wallet_id or ""))),
    )


async def _survey(stores: Stores, progress: Progress) -> _Survey:
    """Look through everything once: the log in its own order, then the ledger and the documents by wallet."""
    _, of = await count_wallets(stores.engine)
    sums, survey = EventSums(), _Survey()
    await sums.add_log(stores.log, lambda done: progress(READING_LOG, done, of))
    await refresh(stores.search, stores.wallets.alias, stores.statement.alias)
    async for compared in compare_all(stores):
        for event in compared.events:
            sums.subtract(event)
        survey.add(compared)
        progress(READING_LEDGER, survey.events, of)
    survey.suspects |= sums.differing()
    survey.strangers = sorted(sums.strangers)
    return survey


@dataclass(slots=True)
class _Survey:
    """What the first look through everything came to."""

    wallets: int = 0
    events: int = 0
    documents: int = 0
    suspects: set[str] = field(default_factory=set)
    strangers: Sequence[str] = ()

    def add(self, compared: Compared) -> None:
        """Count what was compared, and suspect the wallet if anything differs."""
        self.wallets += compared.is_last
        self.events += len(compared.events)
        self.documents += compared.documents
        if compared.differences:
            self.suspects.add(compared.wallet_id)


async def _look_again(stores: Stores, suspects: set[str], progress: Progress, settle_s: float) -> list[Difference]:
    """Look closely at the suspects until none differs, or a look that began after `settle_s` is over."""
    with postgres_errors():
        settled = await read_versions(stores.engine, suspects)
    first_look, of = time.monotonic(), len(suspects)
    while True:
        is_last = time.monotonic() - first_look >= settle_s
        differing = await _look_closely(stores, suspects, settled)
        progress(LOOKING_AGAIN, of - len(differing), of)
        if is_last or not differing:
            return [difference for differences in differing.values() for difference in differences]
        suspects = set(differing)
        await asyncio.sleep(min(LOOK_AGAIN_S, settle_s))


async def _look_closely(
    stores: Stores, suspects: Iterable[str], settled: Mapping[str, int]
) -> dict[str, list[Difference]]:
    """Which of the suspects differ now, and in what."""
    await refresh(stores.search, stores.wallets.alias, stores.statement.alias)
    at_once = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def look(wallet_id: str) -> list[Difference]:
        async with at_once:
            return await _differences(compare_wallet(stores, wallet_id, settled.get(wallet_id, -1)))

    ids = sorted(suspects)
    found = await asyncio.gather(*map(look, ids))
    return {id_: differences for id_, differences in zip(ids, found, strict=True) if differences}


async def _differences(parts: AsyncIterator[Compared]) -> list[Difference]:
    """The first `DIFFERENCES_MAX` differences of a wallet, and how many more there are."""
    shown: list[Difference] = []
    more = 0
    async for part in parts:
        room = DIFFERENCES_MAX - len(shown)
        shown += part.differences[:room]
        more += max(len(part.differences) - room, 0)
    if more:
        shown.append(shown[-1]._replace(what="further differences", expected=NONE, found=str(more)))
    return shown

"""Postgres, KurrentDB and Elasticsearch compared, wallet by wallet; what still stands after a while is reported.

First everything is surveyed once; whatever looks different there is suspected, no more. Each suspect is then looked at
closely, again and again until nothing differs or `SETTLE_S` is over: what was in flight has arrived by then. A store
must come to the version that Postgres had at the first look, so a wallet that is busy all the time is no difference;
what a store holds must be right at once. Changes nothing, and may run at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping

from worker.audit.part import Compared
from worker.audit.parts import compare_wallet
from worker.audit.report import NONE, Difference, Repairs, Report
from worker.audit.stores import Stores, postgres_errors
from worker.audit.survey import Progress, Survey, add_up, no_progress, survey_stores
from worker.outbox.backfill import read_versions

SETTLE_S = 10.0
"""A difference that is gone within this time was in flight (contract, "The command line")."""
LOOK_AGAIN_S = 0.5
LOOKS_AT_ONCE = 4
DIFFERENCES_MAX = 20
"""Of one wallet: the first ones tell what is wrong with it."""

LOOKING_AGAIN = "what differs, again"


async def verify(stores: Stores, progress: Progress = no_progress, settle_s: float = SETTLE_S) -> Report:
    """Compare all stores. Raises `Unavailable` where one is away."""
    survey = Survey()
    await survey_stores(stores, survey, progress)
    return await conclude(stores, survey, progress, settle_s)


async def conclude(
    stores: Stores, survey: Survey, progress: Progress, settle_s: float, repairs: Repairs | None = None
) -> Report:
    """Add up, and tell what of a survey still differs after `settle_s` seconds of looking again at its suspects."""
    await add_up(stores, survey)
    differences = [*survey.differences, *await _look_again(stores, survey.suspects, progress, settle_s)]
    return Report(
        wallets=survey.wallets,
        events=survey.events,
        documents=survey.documents,
        seconds=time.monotonic() - survey.began,
        differences=tuple(dict.fromkeys(sorted(differences, key=lambda one: one.wallet_id or ""))),
        repairs=repairs,
    )


async def differences_of(stores: Stores, wallet_id: str) -> list[Difference]:
    """Where the stores differ in a wallet at this moment. Raises `Unavailable` where one is away."""
    with postgres_errors():
        settled = await read_versions(stores.engine, [wallet_id])
    return (await _look_closely(stores, [wallet_id], settled)).get(wallet_id, [])


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
    await stores.refresh()
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

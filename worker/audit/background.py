"""The stores compared and mended all the time, slowly, beside the scheduler's ticks.

Round after round does what `wallex verify --repair` does, resting longer than it works. It is what finishes a change
whose process died between its commit and its append with nobody to deliver it again (`AppendPendingError`), or what a
store restored from an old backup lost. Runs under a lease to save work; twice at once is harmless, so it runs without
Redis too. Stores that do not belong together end the process. Nothing else that happens here stops the ticks: where a
store is away the round goes on later from where it was, and even a bug only costs the round, with its traceback in the
log and a count in `wallex_verify_rounds`.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import NoReturn

import structlog

from worker.audit.repair import REPAIR_AFTER_S, Work, verify_and_repair
from worker.audit.report import Report
from worker.audit.stores import open_stores
from worker.audit.verify import SETTLE_S
from worker.errors import ForeignStore, WallexError
from worker.lease import Lease
from worker.settings import Settings
from worker.telemetry.metrics import SchedulerMetrics

ROUND_EVERY_S = 900.0
"""From the end of a round to the next."""
PAUSE_S = 60.0
"""After a round that could not be finished; and before the first, so that a process that is restarted again and again,
or a lease that changes hands, does not have everything read each time."""
CONTRADICTIONS_LOGGED_MAX = 100
"""A round; the count is of all."""

log = structlog.get_logger(__name__)


async def watch_stores(
    settings: Settings,
    metrics: SchedulerMetrics,
    *,
    round_every_s: float = ROUND_EVERY_S,
    pause_s: float = PAUSE_S,
    older_than_s: float = REPAIR_AFTER_S,
    settle_s: float = SETTLE_S,
) -> None:
    """Compare and mend for as long as the lease is granted, until it is cancelled."""
    # Schedulers of other databases may share the Redis.
    lease = Lease(settings, f"verify:{settings.db_name}")
    metrics.lease_held.labels("verify").set_function(lambda: lease.number is not None)
    metrics.lease_number.labels("verify").set_function(lambda: lease.number or 0)

    async def rounds() -> NoReturn:
        work, rest_s = Work(), pause_s
        while True:
            await asyncio.sleep(rest_s)
            outcome = await _try_round(settings, metrics, work, older_than_s, settle_s)
            if outcome is not Outcome.STORE_AWAY:
                work = Work()
            rest_s = round_every_s if outcome is Outcome.FINISHED else pause_s

    await lease.hold(rounds)


class Outcome(StrEnum):
    """How a round ended: the label of `wallex_verify_rounds`."""

    FINISHED = "finished"
    STORE_AWAY = "store_away"
    FAILED = "failed"


class Rest:
    """The pace of a round: after each page a rest, as long as the page took times `per_work`."""

    def __init__(self, per_work: float) -> None:
        self._per_work = per_work
        self._since = time.monotonic()

    async def __call__(self) -> None:
        """Rest."""
        await asyncio.sleep((time.monotonic() - self._since) * self._per_work)
        self._since = time.monotonic()


async def _try_round(
    settings: Settings, metrics: SchedulerMetrics, work: Work, older_than_s: float, settle_s: float
) -> Outcome:
    """One round, or the rest of one that was given up as a store was away."""
    told, rest = len(work.repairs.made), Rest(settings.verify_rest_per_work)
    try:
        async with open_stores(settings) as stores:
            report = await verify_and_repair(stores, settle_s=settle_s, older_than_s=older_than_s, pace=rest, work=work)
        _tell(report, metrics)
        outcome = Outcome.FINISHED
    except ForeignStore:
        raise
    except WallexError as error:
        log.warning("stores_not_compared", error=str(error))
        outcome = Outcome.STORE_AWAY
    except Exception:
        # The ticks must go on, whatever is wrong here.
        log.exception("stores_not_compared", error="a bug, or a store that answers what nobody expects")
        outcome = Outcome.FAILED
    for one in work.repairs.made[told:]:
        log.info("store_repaired", wallet_id=one.wallet_id, store=one.store, what=one.what)
        metrics.verify_repaired.labels(one.store).inc()
    metrics.verify_rounds.labels(outcome).inc()
    return outcome


def _tell(report: Report, metrics: SchedulerMetrics) -> None:
    """What came of a round, in the log and in the metrics."""
    contradictions = report.contradictions
    for difference in contradictions[:CONTRADICTIONS_LOGGED_MAX]:
        log.error("stores_contradict", **difference._asdict(), what_to_do="a person has to look: `wallex verify`")
    metrics.verify_contradictions.set(len(contradictions))
    metrics.verify_round_seconds.set(report.seconds)
    log.info(
        "stores_compared",
        wallets=report.wallets,
        events=report.events,
        documents=report.documents,
        repaired=len(report.repaired),
        contradictions=len(contradictions),
        lagging=len(report.differences) - len(contradictions),
        seconds=round(report.seconds, 3),
    )

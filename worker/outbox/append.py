"""Append what a batch made to the wallets' streams, whatever became of earlier attempts and of other workers.

One call carries all runs. Where it is refused, the answer names the streams that stand elsewhere; the others go at
once, and each named one by where it stands:

- at or past our last event: that event alone; its success proves the ids. Refused, the stores contradict each other.
- in between: what it lacks, and a proof of what it has. (A run of which only a part is there is refused for ever.)
- before our first: another worker is late, or dead. Tried again every `BEHIND_RETRY_S`; only once the stream has not
  moved for `BEHIND_PATIENCE_S` it is helped, from the ledger. Helping at once makes two workers' copies collide, and
  a copy in flight times out. Where the event of a repeated command is missing, its worker died in mid-way, and each
  batch that it left would be waited for: there `REPEATED_PATIENCE_S` is enough.

Promises: returns when every event is in its stream once, or its wallet is named as contradictory. Safe to repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import Unavailable
from worker.outbox.backfill import load_runs, read_versions
from worker.outbox.event_store import Appended, EventStore
from worker.outbox.run import Run, rounds_of
from worker.retry import until_available
from worker.telemetry.metrics import WorkerMetrics

BEHIND_RETRY_S = 0.025
BEHIND_PATIENCE_S = 1.0
REPEATED_PATIENCE_S = 0.1
DELETED = -5
"""This and below it: no stream that can be appended to."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Appending:
    """What is still to be done: `proofs` are sent next, then `ready` runs; `late` ones wait for another worker.

    No wallet has two runs among `ready`, for a call must not name a stream twice. `stands` says of a wallet whose run
    was late at which revision its stream stood, and since when (monotonic seconds); one that has not moved for
    `patience_s` is helped.
    """

    store: EventStore
    engine: AsyncEngine
    metrics: WorkerMetrics
    patience_s: float
    proofs: list[Run] = field(default_factory=list)
    ready: list[Run] = field(default_factory=list)
    late: dict[str, Run] = field(default_factory=dict)
    stands: dict[str, tuple[int, float]] = field(default_factory=dict)
    contradictory: set[str] = field(default_factory=set)


async def append_runs(
    store: EventStore, engine: AsyncEngine, metrics: WorkerMetrics, runs: Sequence[Run], proofs: Sequence[Run]
) -> frozenset[str]:
    """Append `runs`, after asking for `proofs` of what was committed earlier; return the contradictory wallets.

    A wallet's runs come in the order of their versions, and it has at most one proof. A run waits for what lies between
    it and the one before: another transaction's events, which are not ours to append. Waits for as long as KurrentDB or
    Postgres are away. A proof whose event is not there yet is appended like a run.
    """
    work = Appending(store, engine, metrics, REPEATED_PATIENCE_S, proofs=list(proofs))
    await _finish(work)
    # Only now: a proof that turned out to be lacking is a run itself, of a wallet that may have another one here.
    work.patience_s = BEHIND_PATIENCE_S
    for ready in rounds_of(runs):
        work.ready = [run for run in ready if run.wallet_id not in work.contradictory]
        await _finish(work)
    return frozenset(work.contradictory)


async def _finish(work: Appending) -> None:
    while work.proofs or work.ready or work.late:
        if work.proofs:
            await _prove(work)
        elif work.ready:
            await _write(work)
        else:
            await asyncio.sleep(BEHIND_RETRY_S)
            await _try_late_again(work)


async def _write(work: Appending) -> None:
    """Send what is ready; what was not written stays, sorted by where its stream stands."""
    sent, work.ready = work.ready, []
    appended = await _send(work, sent)
    work.ready = [run for run in appended.unwritten if run.wallet_id not in appended.revisions]
    work.ready += appended.unknown
    await _sort(work, sent, appended.revisions)


async def _prove(work: Appending) -> None:
    """Ask for all proofs at once. Those that lack their event become runs; the others are asked for without them."""
    sent, work.proofs = work.proofs, []
    appended = await _send(work, sent)
    work.proofs += appended.unknown
    if not appended.revisions:
        return
    last = {run.wallet_id: run.last for run in sent}
    # Refused together though not named: the stream stands right before this event, and waits for it.
    lacking = [run for run in appended.unwritten if run.wallet_id not in appended.revisions]
    short = {wallet_id: at for wallet_id, at in appended.revisions.items() if at < last[wallet_id]}
    there = [run for run in appended.unwritten if run.wallet_id in appended.revisions and run.wallet_id not in short]
    work.ready += lacking
    await _sort(work, sent, short)
    if len(there) < len(sent):
        # A mixture is refused whole: those whose events are there are known only once they are asked by themselves.
        work.proofs += there
    else:
        await _find_contradictions(work, there, appended.revisions)


async def _find_contradictions(work: Appending, refused: Sequence[Run], revisions: Mapping[str, int]) -> None:
    """Halve `refused`, of whose events some have other ids in their streams, until each of those stands alone."""
    if len(refused) == 1:
        _contradict(work, refused[0], revisions[refused[0].wallet_id])
        return
    middle = len(refused) // 2
    for half in (refused[:middle], refused[middle:]):
        appended = await _send(work, half)
        work.proofs += appended.unknown
        if appended.unwritten:
            await _find_contradictions(work, appended.unwritten, appended.revisions)


async def _sort(work: Appending, sent: Sequence[Run], revisions: Mapping[str, int]) -> None:
    """Put each run of `sent` that was refused where it belongs, by the revision at which its stream stands."""
    refused = [(run, revisions[run.wallet_id]) for run in sent if run.wallet_id in revisions]
    beyond = [run.wallet_id for run, at in refused if at > run.last]
    versions = await until_available("postgres", lambda: read_versions(work.engine, beyond)) if beyond else {}
    for run, at in refused:
        if at <= DELETED or at > versions.get(run.wallet_id, at):
            _contradict(work, run, at)
        elif at >= run.last:
            work.proofs.append(run.proof())
        elif at >= run.first - 1:
            work.ready.append(run.after(at))
            if at >= run.first:
                work.proofs.append(run.until(at).proof())
        else:
            _wait(work, run, at)


def _wait(work: Appending, run: Run, at: int) -> None:
    """Put a run by whose stream stands before it, and remember since when the stream has stood there."""
    # A part of what an earlier run lacks may be late in its turn: what that run lacks is loaded anew.
    work.late.setdefault(run.wallet_id, run)
    if run.wallet_id not in work.stands or work.stands[run.wallet_id][0] != at:
        work.stands[run.wallet_id] = at, time.monotonic()


async def _try_late_again(work: Appending) -> None:
    """Make the late runs ready again; those whose streams have long not moved, with what these lack."""
    late, work.late = work.late, {}
    patience_began = time.monotonic() - work.patience_s
    lacking = {
        wallet_id: (work.stands[wallet_id][0] + 1, run.first - 1)
        for wallet_id, run in late.items()
        if work.stands[wallet_id][1] <= patience_began
    }
    missing = await until_available("postgres", lambda: load_runs(work.engine, lacking)) if lacking else {}
    for wallet_id, run in late.items():
        if wallet_id in lacking:
            _help(work, run, missing.get(wallet_id))
        else:
            work.ready.append(run)


def _help(work: Appending, run: Run, missing: Run | None) -> None:
    """Append for a worker that is gone: `missing` comes from the ledger, then `run` follows."""
    at, since = work.stands[run.wallet_id]
    if missing is None:
        _contradict(work, run, at)
        return
    work.metrics.events_helped.inc(len(missing.events))
    log.info("stream_helped", wallet_id=run.wallet_id, first=missing.first, last=missing.last)
    if missing.last == run.first - 1:
        work.ready.append(Run(run.wallet_id, [*missing.events, *run.events]))
    else:
        # More is missing than is loaded at once: this part now, and the next without waiting again.
        work.ready.append(missing)
        work.late[run.wallet_id] = run
        work.stands[run.wallet_id] = missing.last, since


def _contradict(work: Appending, run: Run, at: int) -> None:
    """Name the wallet, and send nothing more to its stream."""
    work.contradictory.add(run.wallet_id)
    work.proofs = [other for other in work.proofs if other.wallet_id != run.wallet_id]
    work.ready = [other for other in work.ready if other.wallet_id != run.wallet_id]
    work.late.pop(run.wallet_id, None)
    log.error(
        "stores_contradict",
        wallet_id=run.wallet_id,
        first=run.first,
        last=run.last,
        stream_revision=at,
        what_to_do="compare with `wallex verify`; the partition stays paused until the worker is started again",
    )


async def _send(work: Appending, runs: Sequence[Run]) -> Appended:
    async def attempt() -> Appended:
        try:
            return await work.store.append(runs)
        except Unavailable:
            work.metrics.appends_unknown.inc()
            raise

    appended = await until_available("kurrentdb", attempt)
    work.metrics.appends_unknown.inc(len(appended.unknown))
    if appended.revisions:
        work.metrics.appends_refused.inc()
    missing = sum(len(run.events) for run in (*appended.unwritten, *appended.unknown))
    work.metrics.events_appended.inc(sum(len(run.events) for run in runs) - missing)
    return appended

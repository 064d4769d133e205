"""Append what a batch made to the wallets' streams, whatever became of earlier attempts and of other workers.

One call carries all runs. Where it is refused, the answer names the streams that stand elsewhere; the others go at
once, and each named one by where it stands:

- at or past our last event: that event alone; its success proves the ids. Refused, the stores contradict each other.
- in between: what it lacks, and a proof of what it has. (A run of which only a part is there is refused for ever.)
- before our first: another worker is late, or dead. Tried again every `BEHIND_RETRY_S`; only once the stream has not
  moved for `BEHIND_PATIENCE_S` it is helped, from the ledger. Helping at once makes two workers' copies collide, and
  a copy in flight times out. Where the event of a repeated command is missing, its worker died in mid-way, and each
  batch that it left would be waited for: there `REPEATED_PATIENCE_S` is enough.

An exact revision proves a number, not whose event stands there. So the first time that a process writes to a stream,
and whenever it helps, the ledger's event just before is proven by its id. A proof must not write in its turn: where
the stream stands is asked first, and only an event that the stream is known to have is sent as a proof.

Returns when every event is in its stream once, or its wallet is named as contradictory. Safe to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import Unavailable
from worker.outbox.acknowledged import Acknowledged
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

    No wallet has two runs among `ready`, for a call must not name a stream twice. `stands` says of a late run's wallet
    at which revision its stream stood, and since when (seconds of the event loop); after `patience_s` it is helped. Of
    the wallets in `acknowledged` this process has proven streams before, of those in `proven` in this append. `others`
    wait for an event that another worker may be appending.
    """

    store: EventStore
    engine: AsyncEngine
    metrics: WorkerMetrics
    acknowledged: Acknowledged
    patience_s: float
    proven: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    proofs: list[Run] = field(default_factory=list)
    ready: list[Run] = field(default_factory=list)
    late: dict[str, Run] = field(default_factory=dict)
    stands: dict[str, tuple[int, float]] = field(default_factory=dict)
    contradictory: dict[str, str] = field(default_factory=dict)


async def append_runs(
    store: EventStore,
    engine: AsyncEngine,
    metrics: WorkerMetrics,
    runs: Sequence[Run],
    proofs: Sequence[Run],
    *,
    acknowledged: Acknowledged,
) -> dict[str, str]:
    """Append `runs`, after asking for `proofs` of what was committed earlier; return what contradicts, by wallet.

    A wallet's runs come in the order of their versions, and it has at most one proof. A run waits for what lies between
    it and the one before: another transaction's events. A proof whose event is not there yet is appended like a run. Of
    wallets that are not `acknowledged`, the event before the first run is proven, too. Waits for lost servers.
    """
    work = Appending(store, engine, metrics, acknowledged, REPEATED_PATIENCE_S)
    rounds = rounds_of(runs)
    await _prove_first(work, rounds[0] if rounds else (), proofs)
    await _finish(work)
    # Only now: a proof that turned out to be lacking is a run itself, of a wallet that may have another one here.
    work.patience_s = BEHIND_PATIENCE_S
    for ready in rounds:
        work.ready = [run for run in ready if run.wallet_id not in work.contradictory]
        await _finish(work)
    return work.contradictory


async def _prove_first(work: Appending, runs: Sequence[Run], proofs: Sequence[Run]) -> None:
    """Ask for `proofs`, and for the events right before `runs` whose wallets this process has not seen proven."""
    behind = [run for run in runs if run.first > 0 and not _is_proven(work, run.wallet_id)]
    before = {run.wallet_id: run.first - 1 for run in behind}
    found = await _load(work, {wallet_id: (version, version) for wallet_id, version in before.items()})
    for wallet_id in before.keys() - found.keys():
        _contradict(work, wallet_id, before[wallet_id], before[wallet_id], at=None)
    work.others = set(found)
    # The event right before a run proves more than what a repeated command made earlier.
    asked = [proof for proof in proofs if proof.wallet_id not in before]
    work.proofs = [proof for proof in asked if _is_proven(work, proof.wallet_id)]
    await _locate(work, [*found.values(), *(proof for proof in asked if not _is_proven(work, proof.wallet_id))])


async def _locate(work: Appending, runs: Sequence[Run]) -> None:
    """Sort `runs`, of wallets that are not proven, by where their streams stand, without writing anything."""
    if runs:
        await _sort(work, runs, await until_available("kurrentdb", lambda: work.store.locate(runs)))


def _is_proven(work: Appending, wallet_id: str) -> bool:
    return wallet_id in work.proven or wallet_id in work.acknowledged


async def _load(work: Appending, ranges: Mapping[str, tuple[int, int]]) -> dict[str, Run]:
    return await until_available("postgres", lambda: load_runs(work.engine, ranges)) if ranges else {}


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
    # Refused together though not named: the stream stands right before this event, and waits for it.
    lacking = [run for run in appended.unwritten if run.wallet_id not in appended.revisions]
    short = {run.wallet_id: at for run in sent if (at := appended.revisions.get(run.wallet_id, run.last)) < run.last}
    there = [run for run in appended.unwritten if run.wallet_id in appended.revisions and run.wallet_id not in short]
    # With what was to be sent behind it: no call names a wallet twice.
    gone = {run.wallet_id: run.before(work.ready) for run in sent if run in lacking or run.wallet_id in short}
    work.ready = [run for run in work.ready if run.wallet_id not in gone]
    work.ready += [gone[run.wallet_id] for run in lacking]
    await _sort(work, [*gone.values()], short)
    if len(there) < len(sent):
        # A mixture is refused whole: those whose events are there are known only once they are asked by themselves.
        work.proofs += there
    else:
        await _find_contradictions(work, there, appended.revisions)


async def _find_contradictions(work: Appending, refused: Sequence[Run], revisions: Mapping[str, int]) -> None:
    """Halve `refused`, of whose events some have other ids in their streams, until each of those stands alone."""
    if len(refused) == 1:
        run = refused[0]
        _contradict(work, run.wallet_id, run.first, run.last, revisions[run.wallet_id])
        return
    middle = len(refused) // 2
    for half in (refused[:middle], refused[middle:]):
        appended = await _send(work, half)
        work.proofs += appended.unknown
        if appended.unwritten:
            await _find_contradictions(work, appended.unwritten, appended.revisions)


async def _sort(work: Appending, sent: Sequence[Run], revisions: Mapping[str, int]) -> None:
    """Put each run of `sent` that was not written where it belongs, by the revision at which its stream stands."""
    refused = [(run, revisions[run.wallet_id]) for run in sent if run.wallet_id in revisions]
    beyond = [run.wallet_id for run, at in refused if at > run.last]
    versions = await until_available("postgres", lambda: read_versions(work.engine, beyond)) if beyond else {}
    unproven = {}
    if any(at < work.acknowledged.version(run.wallet_id) for run, at in refused):
        # Acknowledged and gone: KurrentDB is an older copy of itself, so nothing that was seen in it counts.
        log.warning("streams_went_back", wallets=len(refused))
        work.acknowledged.clear()
    for run, at in refused:
        if at <= DELETED or at > versions.get(run.wallet_id, at):
            _contradict(work, run.wallet_id, run.first, run.last, at)
        elif at >= run.last:
            work.proofs.append(run.proof())
        elif at >= run.first:
            work.ready.append(run.after(at))
            work.proofs.append(run.until(at).proof())
        elif at < run.first - 1:
            _wait(work, run, at)
        elif at < 0 or _is_proven(work, run.wallet_id):
            work.ready.append(run)
        elif run.wallet_id in work.others:
            _wait(work, run, at)
        else:
            unproven[run.wallet_id] = run
    await _write_behind(work, {wallet_id: (run, run.first - 1) for wallet_id, run in unproven.items()})


async def _write_behind(work: Appending, runs: Mapping[str, tuple[Run, int]]) -> None:
    """Make each run ready, with what its stream lacks before it: by wallet, the run and where its stream stands.

    The event where the stream stands is proven first. A hole in the ledger contradicts.
    """
    ranges = {wallet_id: (max(at, 0), run.first - 1) for wallet_id, (run, at) in runs.items()}
    loaded = await _load(work, ranges)
    for wallet_id, (run, at) in runs.items():
        found = loaded.get(wallet_id)
        if found is None or (found.last <= at < run.first - 1):
            _contradict(work, wallet_id, run.first, run.last, at)
            continue
        if at >= 0:
            work.proofs.append(found.until(at))
        _make_ready(work, run, found.after(at))


def _make_ready(work: Appending, run: Run, missing: Run) -> None:
    """Let `run` be sent, after `missing`, which a worker that is gone has left."""
    if missing.events:
        work.metrics.events_helped.inc(len(missing.events))
        log.info("stream_helped", wallet_id=run.wallet_id, first=missing.first, last=missing.last)
    if not missing.events or missing.last == run.first - 1:
        work.ready.append(Run(run.wallet_id, [*missing.events, *run.events]))
    else:
        # More is missing than is loaded at once: this part now, and the next without waiting again.
        work.ready.append(missing)
        work.late[run.wallet_id] = run
        work.stands[run.wallet_id] = missing.last, work.stands[run.wallet_id][1]


def _wait(work: Appending, run: Run, at: int) -> None:
    """Put a run by whose stream stands before it, and remember since when the stream has stood there."""
    work.late.setdefault(run.wallet_id, run)
    if run.wallet_id not in work.stands or work.stands[run.wallet_id][0] != at:
        work.stands[run.wallet_id] = at, asyncio.get_running_loop().time()


async def _try_late_again(work: Appending) -> None:
    """Make the late runs ready again; those whose streams have long not moved, with what these lack."""
    late, work.late = work.late, {}
    now = asyncio.get_running_loop().time()
    helped = {}
    for wallet_id, run in late.items():
        at, since = work.stands[wallet_id]
        if since + (BEHIND_PATIENCE_S if wallet_id in work.others else work.patience_s) <= now:
            helped[wallet_id] = run, at
    waiting = [run for wallet_id, run in late.items() if wallet_id not in helped]
    work.ready += [run for run in waiting if _is_proven(work, run.wallet_id)]
    await _locate(work, [run for run in waiting if not _is_proven(work, run.wallet_id)])
    await _write_behind(work, helped)


def _contradict(work: Appending, wallet_id: str, first: int, last: int, at: int | None) -> None:
    """Name the wallet, and send nothing more to its stream; `at` is None where the ledger itself lacks the event."""
    if at is None:
        why = f"the ledger lacks the event at version {first}"
    elif at <= DELETED:
        why = f"its stream is deleted; the ledger's events {first} to {last} were to be there"
    else:
        why = f"its stream, which ends at revision {at}, holds other events than the ledger's {first} to {last}"
    work.contradictory[wallet_id] = why
    work.proofs = [other for other in work.proofs if other.wallet_id != wallet_id]
    work.ready = [other for other in work.ready if other.wallet_id != wallet_id]
    work.late.pop(wallet_id, None)


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
    done = {run.wallet_id: run for run in runs}
    for run in (*appended.unwritten, *appended.unknown):
        del done[run.wallet_id]
    for wallet_id, at in appended.misplaced.items():
        run = done.pop(wallet_id)
        _contradict(work, wallet_id, run.first, run.last, at)
    work.proven.update(done)
    missing = sum(len(run.events) for run in (*appended.unwritten, *appended.unknown))
    work.metrics.events_appended.inc(sum(len(run.events) for run in runs) - missing)
    return appended

"""What comes after the commit: append, then reply, then commit the offsets; batch after batch, in order.

Each stage works on its own batch, so the append of one, the replies of another and the transaction of a third overlap.
Nobody waits for a commit: while one is under way the next batches are answered, and one commit then serves them all.
The queues between the stages are short: when KurrentDB or Kafka are away they fill up, and nothing more is taken from
Kafka. Every step is safe to repeat, and a batch leaves a stage only when the stage has done all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.contracts.envelope import fitting_key, reply_headers
from worker.crash_points import crash_point
from worker.domain.rejections import not_appended
from worker.inbox.answered import Answered, Batch
from worker.inbox.dead_letter import dead_letter
from worker.inbox.offsets import commit_answered
from worker.inbox.partitions import stop_partition
from worker.inbox.report import measured, report
from worker.ledger.decide_batch import Outcome
from worker.ledger.reply import ACCEPTED, REJECTED
from worker.outbox.appender import Appender
from worker.outbox.backfill import load_proofs
from worker.outbox.event_store import EventStore
from worker.outbox.publish import Message, Publisher
from worker.outbox.run import Run, runs_of
from worker.retry import until_available
from worker.telemetry.metrics import WorkerMetrics

BATCHES_BETWEEN_STAGES = 2
BATCHES_TO_COMMIT_MAX = 16
"""So many batches may be answered whose offsets are not committed: small ones come faster than Kafka commits."""
STUCK_S = 5.0
"""Longer than any batch takes while all servers are well."""
WHEN_NOT_TAKEN = "see to the rights and limits of that topic, restart the worker"


@dataclass(slots=True)
class Pipeline:
    """The stages behind the transaction. `run` works until it is cancelled."""

    store: EventStore
    engine: AsyncEngine
    publisher: Publisher
    consumer: Callable[[], AIOKafkaConsumer]
    metrics: WorkerMetrics
    dlq_topic: str
    to_append: asyncio.Queue[Batch] = field(default_factory=lambda: asyncio.Queue(BATCHES_BETWEEN_STAGES))
    to_reply: asyncio.Queue[Batch] = field(default_factory=lambda: asyncio.Queue(BATCHES_BETWEEN_STAGES))
    to_commit: asyncio.Queue[Batch] = field(default_factory=lambda: asyncio.Queue(BATCHES_TO_COMMIT_MAX))
    unanswered: deque[Batch] = field(default_factory=deque)
    appender: Appender = field(init=False)
    moved_at: float = 0.0

    def __post_init__(self) -> None:
        self.appender = Appender(self.store, self.engine, self.metrics)

    async def put(self, batch: Batch) -> None:
        """Hand over a batch whose transaction is committed; wait where the stages are full."""
        if not self.unanswered:
            self.moved_at = time.monotonic()
        self.unanswered.append(batch)
        await self.to_append.put(batch)

    async def drained(self) -> None:
        """Wait until every batch that was handed over is answered and its offsets are committed."""
        await self.to_append.join()
        await self.to_reply.join()
        await self.to_commit.join()

    def oldest_timestamp_ms(self) -> int | None:
        """The Kafka timestamp of the oldest record that is decided and not answered; None where there is none."""
        return min((batch.oldest_ms for batch in self.unanswered), default=None)

    def is_stuck(self) -> bool:
        """Whether something waits for its answer, and nothing was answered for `STUCK_S`."""
        return bool(self.unanswered) and time.monotonic() - self.moved_at > STUCK_S

    async def run(self) -> None:
        """Run all stages; ends where one of them does."""
        # Not a TaskGroup: it goes on without a task that was cancelled.
        stages = [asyncio.create_task(stage()) for stage in (self._append_stage, self._reply_stage, self._commit_stage)]
        try:
            await asyncio.gather(*stages)
        finally:
            for stage in stages:
                stage.cancel()
            await asyncio.gather(*stages, return_exceptions=True)

    async def _append_stage(self) -> None:
        while True:
            batch = await self.to_append.get()
            with measured(self.metrics, "append", batch.took_ms):
                await self._append(batch)
            crash_point("append")
            await self.to_reply.put(batch)
            self.to_append.task_done()

    async def _reply_stage(self) -> None:
        while True:
            batch = await self.to_reply.get()
            with measured(self.metrics, "reply", batch.took_ms):
                await self._reply(batch)
            crash_point("reply")
            self.unanswered.remove(batch)
            self.moved_at = time.monotonic()
            await self.to_commit.put(batch)
            self.to_reply.task_done()

    async def _commit_stage(self) -> None:
        while True:
            batches = [await self.to_commit.get()]
            while not self.to_commit.empty():
                batches.append(self.to_commit.get_nowait())
            took_ms: dict[str, float] = {}
            with measured(self.metrics, "commit", took_ms):
                await self._commit(batches)
            crash_point("offset_commit")
            for batch in batches:
                batch.took_ms |= took_ms
                report(self.metrics, batch)
                self.to_commit.task_done()

    async def _append(self, batch: Batch) -> None:
        """Append the batch's new events, after proving those of its repeated commands that nobody has seen proven."""
        runs = runs_of(event for answered in batch.answered for event in answered.outcome.events)
        made = self._unacknowledged(batch, runs)
        proofs = await until_available("postgres", lambda: load_proofs(self.engine, made)) if made else []
        if proofs:
            firsts = _firsts(runs)
            # What comes after our own first event is in the stream only once that one is: it is asked for behind it.
            runs += [proof for proof in proofs if proof.first > firsts.get(proof.wallet_id, proof.first)]
            proofs = [proof for proof in proofs if proof.first <= firsts.get(proof.wallet_id, proof.first)]
        batch.contradictory = await self.appender.append(runs, proofs)

    def _unacknowledged(self, batch: Batch, runs: Sequence[Run]) -> dict[str, int]:
        """The highest version that repeated commands made of each wallet, where it may not be in the stream yet.

        What the last of `runs` proves is left out: what is repeated of this very batch, and what came before it.
        """
        repeated = [made for answered in batch.answered for made in answered.outcome.made]
        if not repeated:
            return {}
        firsts, lasts = _firsts(runs), {run.wallet_id: run.last for run in runs}
        highest: dict[str, int] = {}
        for wallet_id, version in repeated:
            known = max(highest.get(wallet_id, -1), self.appender.acknowledged.version(wallet_id))
            is_new = firsts.get(wallet_id, version + 1) <= version <= lasts.get(wallet_id, -1)
            if known < version and not is_new:
                highest[wallet_id] = version
        return highest

    async def _reply(self, batch: Batch) -> None:
        """Publish what can be answered, and stop the partitions of what Kafka never takes.

        What took effect and is not in KurrentDB is not answered: it becomes a dead letter, for when its wallet is
        released.
        """
        outgoing: list[tuple[Answered, Message]] = []
        for answered in batch.answered:
            contradictory = batch.contradictory.intersection(_wallets(answered.outcome))
            if contradictory:
                rejected = not_appended(min(contradictory))
                letter = dead_letter(answered.record, self.dlq_topic, rejected, answered.envelope.attempt)
                outgoing.append((answered, letter))
                self.metrics.dead_letters.labels(rejected.code).inc()
                continue
            outgoing.append((answered, reply_message(answered)))
            if answered.dead_letter is not None:
                outgoing.append((answered, answered.dead_letter))
                self.metrics.dead_letters.labels(answered.outcome.error_code).inc()
        refused = await self.publisher.deliver([message for _, message in outgoing])
        for place, why in refused.items():
            self._stop(outgoing[place][0], why, WHEN_NOT_TAKEN)

    def _stop(self, answered: Answered, why: str, what_to_do: str) -> None:
        """Stop the partition of a record that cannot be answered."""
        record = answered.record
        consumer, partition = self.consumer(), answered.partition
        stop_partition(consumer, partition, record.offset, why, what_to_do, timestamp_ms=record.timestamp)

    async def _commit(self, batches: Sequence[Batch]) -> None:
        """Commit how far each owned partition of `batches`, which are answered, is answered."""
        partitions = set()
        for answered in (one for batch in batches for one in batch.answered):
            answered.partition.answer(answered.record.offset)
            partitions.add(answered.partition)
        await commit_answered(self.consumer(), partitions)


def reply_message(answered: Answered) -> Message:
    """The reply to a record: the outcome's bytes under the record's key, with what its sender is to recognise it by."""
    outcome = answered.outcome
    status = ACCEPTED if outcome.error_code is None else REJECTED
    headers = reply_headers(answered.envelope, answered.command_id, status, replayed=outcome.replayed)
    key, time_ms = fitting_key(answered.record.key), answered.record.timestamp
    partition = answered.envelope.reply_partition
    return Message(answered.envelope.reply_topic, key, outcome.reply, headers, time_ms=time_ms, partition=partition)


def _firsts(runs: Sequence[Run]) -> dict[str, int]:
    """The first version among `runs` of each wallet."""
    return {run.wallet_id: run.first for run in reversed(runs)}


def _wallets(outcome: Outcome) -> Iterable[str]:
    if outcome.events:
        return (event.wallet_id for event in outcome.events)
    return (wallet_id for wallet_id, _ in outcome.made)

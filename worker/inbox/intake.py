"""From FastStream's poll to a decided batch: claim, decode, settle, hand over to the pipeline.

FastStream swallows whatever its handler raises and goes on with the next batch, which would lose this one. So nothing
that can be tried again leaves this module, and what cannot stops the process.

A record that kills the process must not kill one owner after another. So the first record of each partition runs alone
after it was taken over, then batches grow, each answered and committed before the next is read: what kills the process
must not take back what was done before it. Before a lone record is read, the process's name is committed beside its
offset, behind those of the processes that died meanwhile. Where the names of `TRYING_MAX` dead ones stand there, the
record gets `InternalError` and a dead letter, unrun.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.cancellation import is_asked_for
from worker.contracts.envelope import ReplyTopics, read_envelope
from worker.contracts.replies import ErrorCode
from worker.contracts.times import from_milliseconds
from worker.inbox.answered import Answered, Batch
from worker.inbox.assignment import Claim
from worker.inbox.batches import Read, in_batches, next_batch
from worker.inbox.dead_letter import dead_letter
from worker.inbox.decode import Refused, decode_record, find_command_id, refusal_reply
from worker.inbox.offsets import commit, commit_answered
from worker.inbox.parking import RETRY_S, ParkingLot, Waiting
from worker.inbox.partitions import Partition, trying_mark
from worker.inbox.pipeline import Pipeline
from worker.inbox.report import measured
from worker.ledger.decide_batch import Failed, Outcome, Received
from worker.ledger.reply import INTERNAL_ERROR
from worker.ledger.settle import Parked, settle, settle_failure
from worker.telemetry.metrics import WorkerMetrics

TRYING_MAX = 3
LONE_PATIENCE_S = 5.0
"""A record that has not killed the process by then is not the kind that does: it waits for a server."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a record may be, and where its dead letter goes."""

    reply_topics: ReplyTopics
    max_command_bytes: int
    dlq_topic: str


@dataclass(slots=True)
class Intake:
    """The handler behind the command topics. `name` is the process's own."""

    name: str
    engine: AsyncEngine
    pipeline: Pipeline
    parking: ParkingLot
    rules: Rules
    metrics: WorkerMetrics
    consumer: Callable[[], AIOKafkaConsumer]
    closed: bool = False
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    settling: asyncio.Task[list[Outcome | None]] | None = None
    left: Sequence[tuple[Partition, deque[ConsumerRecord]]] = ()
    deciding: Sequence[Read] = ()
    ready_since: float = field(default_factory=time.perf_counter)

    async def take(self, claims: Sequence[Claim]) -> None:
        """Run the records of a poll, and hand them to the pipeline in batches. Returns when all are handed over."""
        async with self.taking:
            self.metrics.stage_seconds.labels("fetch").observe(time.perf_counter() - self.ready_since)
            left = self.left = [(partition, deque(records)) for partition, records in claims]
            for partition, records in left:
                if partition.lone and partition.owned:
                    await self._run_lone(partition, records.popleft())
            while any(records and partition.owned for partition, records in left):
                took_ms: dict[str, float] = {}
                with measured(self.metrics, "decode", took_ms):
                    batch = next_batch(left, self._decode)
                await self._run(batch, took_ms)
                if any(partition.grows for partition, _, _ in batch):
                    await self.pipeline.drained()
            self.ready_since = time.perf_counter()

    def oldest_timestamp_ms(self) -> int | None:
        """The Kafka timestamp of the oldest record that was fetched and is not answered; None where there is none."""
        waiting = [records[0] for partition, records in self.left if records and partition.owned]
        running = [record for partition, record, _ in self.deciding if partition.owned]
        parked = [parked.record for parked in self.parking.waiting if parked.partition.owned]
        found = [record.timestamp for record in (*waiting, *running, *parked)]
        answering = self.pipeline.oldest_timestamp_ms()
        return min(found if answering is None else [*found, answering], default=None)

    async def drained(self) -> None:
        """Wait until nothing is being run, and everything that ran is answered."""
        async with self.taking:
            await self.pipeline.drained()

    def abandon(self) -> None:
        """Drop what is being run: its partitions belong to somebody else now, who runs it again."""
        if self.settling is not None:
            self.settling.cancel()

    async def close(self) -> None:
        """Take no more, and wait until what was taken is answered."""
        self.closed = True
        await self.drained()

    async def run_parked(self) -> None:
        """Try parked commands again, for ever."""
        while True:
            await asyncio.sleep(RETRY_S)
            if not self.parking.waiting:
                continue
            ran: list[Waiting] = []
            still = Parked()
            for batch in in_batches(list(self.parking.waiting)):
                ran += await self._run_waiting([w for w in batch if w.partition.owned], still)
            await self.parking.leave(ran)
            await commit_answered(self.consumer(), {w.partition for w in ran})

    async def _run_waiting(self, batch: Sequence[Waiting], still: Parked) -> list[Waiting]:
        """Settle parked commands, and wait until those that ran are answered: their offsets are held back so long."""
        outcomes = await settle(self.engine, [w.received for w in batch], still)
        ran = [(w, outcome) for w, outcome in zip(batch, outcomes, strict=True) if outcome is not None]
        if ran:
            answered = [self._answer(w.partition, w.record, w.received, outcome) for w, outcome in ran]
            await self.pipeline.put(Batch(answered, {}))
            await self.pipeline.drained()
        return [w for w, _ in ran]

    async def _run(self, batch: Sequence[Read], took_ms: dict[str, float]) -> None:
        """Decide `batch` and hand it over."""
        answered = await self._decide(batch, took_ms)
        if answered:
            await self.pipeline.put(Batch(answered, took_ms))

    async def _decide(self, batch: Sequence[Read], took_ms: dict[str, float]) -> list[Answered]:
        """Settle `batch`. What is left out is parked, or belongs to a partition that was taken away."""
        async with self.parking.settling:
            return await self._decide_alone(batch, took_ms)

    async def _decide_alone(self, batch: Sequence[Read], took_ms: dict[str, float]) -> list[Answered]:
        if self.closed:
            return []
        self.deciding = batch
        read = [one for one in batch if one[0].owned]
        with measured(self.metrics, "transaction", took_ms):
            outcomes = await self._settle([received for _, _, received in read if isinstance(received, Received)])
        self.deciding = ()
        if outcomes is None:
            return []
        answered = []
        settled = iter(outcomes)
        for partition, record, received in read:
            outcome = next(settled) if isinstance(received, Received) else received.outcome
            if outcome is not None:
                answered.append(self._answer(partition, record, received, outcome))
            elif isinstance(received, Received):
                self.parking.enter(Waiting(partition, record, received))
        return answered

    async def _settle(self, commands: Sequence[Received]) -> list[Outcome | None] | None:
        """Settle `commands`; None where `abandon` came in between."""
        if not commands:
            return []
        self.settling = asyncio.create_task(settle(self.engine, commands, self.parking.parked))
        try:
            return await self.settling
        except asyncio.CancelledError:
            if is_asked_for() or not self.settling.cancelling():
                raise
            return None
        finally:
            self.settling = None

    async def _run_lone(self, partition: Partition, record: ConsumerRecord) -> None:
        """Run a partition's first record alone, with a mark beside its offset while it may kill the process."""
        partition.lone = False
        if len(partition.trying) >= TRYING_MAX:
            await self._give_up(partition, record)
            return
        mark, no_mark = trying_mark((*partition.trying, self.name)), ""
        if not await commit(self.consumer(), {partition.id: (record.offset, mark)}):
            # The record is dropped, so nothing behind it may run: all of it comes again with the next assignment.
            partition.owned = False
            return
        took_ms: dict[str, float] = {}
        with measured(self.metrics, "decode", took_ms):
            read = [(partition, record, self._decode(record))]
        deciding = asyncio.create_task(self._decide(read, took_ms))
        await asyncio.wait({deciding}, timeout=LONE_PATIENCE_S)
        # Before it is handed over: its own offset must be the last that is committed.
        await commit(self.consumer(), {partition.id: (record.offset, no_mark)})
        answered = await deciding
        if answered:
            await self.pipeline.put(Batch(answered, took_ms))
            await self.pipeline.drained()

    async def _give_up(self, partition: Partition, record: ConsumerRecord) -> None:
        """Answer a record, without reading it, that no process came back from."""
        envelope = read_envelope(record.headers, self.rules.reply_topics)
        command_id = find_command_id(record.value)
        log.error("record_given_up", partition=str(partition.id), offset=record.offset, command_id=command_id)
        if command_id is None:
            refused = Refused(envelope, None, None, INTERNAL_ERROR, refusal_reply(record, None, None, INTERNAL_ERROR))
            answered = self._answer(partition, record, refused, refused.outcome)
        else:
            failed = Failed(command_id, None, b"", envelope.attempt, from_milliseconds(record.timestamp))
            outcome = await settle_failure(self.engine, failed)
            refused = Refused(envelope, command_id, None, INTERNAL_ERROR, outcome.reply)
            answered = self._answer(partition, record, refused, outcome)
        await self.pipeline.put(Batch([answered], {}))

    def _decode(self, record: ConsumerRecord) -> Received | Refused:
        try:
            return decode_record(record, self.rules.reply_topics, self.rules.max_command_bytes)
        except Exception as error:
            at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.error("record_not_decoded", **at, exc_info=error)
            envelope = read_envelope(record.headers, self.rules.reply_topics)
            return Refused(envelope, None, None, INTERNAL_ERROR, refusal_reply(record, None, None, INTERNAL_ERROR))

    def _answer(
        self, partition: Partition, record: ConsumerRecord, received: Received | Refused, outcome: Outcome
    ) -> Answered:
        command_id: str | None
        type_: str | None
        if isinstance(received, Received):
            command_id, type_, rejected = received.command.command_id, received.command.type, INTERNAL_ERROR
        else:
            command_id, type_, rejected = received.command_id, received.type, received.rejected
        letter = None
        # Dead letters are exactly these (contract, "Kafka topics"). A repeated InternalError makes another one: whether
        # the first was written before a crash cannot be known.
        if command_id is None or outcome.error_code == ErrorCode.INTERNAL_ERROR:
            letter = dead_letter(record, self.rules.dlq_topic, rejected, received.envelope.attempt)
        return Answered(partition, record, received.envelope, command_id, type_, outcome, letter)

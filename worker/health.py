"""What the worker says of itself: `/livez` and `/readyz`, its gauges, and the watch over its own consume loop.

FastStream's own ping says nothing about consuming: a dead loop would look healthy for ever, and keep its partitions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import raw_connection
from worker.errors import Fatal, Unavailable
from worker.inbox.intake import Intake
from worker.inbox.partitions import Partition
from worker.kafka import find_end, find_position
from worker.ledger.quarantine import count_quarantined
from worker.outages import say_back, say_lost
from worker.outbox.event_store import EventStore
from worker.outbox.publish import Publisher
from worker.telemetry.health import Check
from worker.telemetry.metrics import WorkerMetrics

WATCH_EVERY_S = 1.0
ASK_EVERY_S = 5.0
ANSWER_S = 5.0
END_ANSWER_S = 1.0
IS_WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
DEAD_LOOPS_MAX = 5
"""So many looks in a row at a dead loop: FastStream restarts one that failed, which takes it a moment."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What health is asked of. `consuming` says whether FastStream's loop runs, `owned` what this process owns now.

    `engine` and `readiness` are connections of their own: a question must not take one from a command, nor get between
    two appends.
    """

    engine: AsyncEngine
    publisher: Publisher
    intake: Intake
    readiness: EventStore
    metrics: WorkerMetrics
    consumer: Callable[[], AIOKafkaConsumer]
    consuming: Callable[[], bool]
    owned: Callable[[], Collection[Partition]]

    async def is_consuming(self) -> None:
        """Raise where the consume loop is dead."""
        if not self.consuming():
            raise Fatal("the consume loop is dead")

    async def is_assigned(self) -> None:
        """Raise where no partition is ours."""
        if not self.owned():
            raise Unavailable("no partition is assigned")

    async def goes_on(self) -> None:
        """Raise where a partition is stopped."""
        stopped = sorted(
            f"{p.id.topic}-{p.id.partition}: {p.stopped_why}" for p in self.owned() if p.stopped_at is not None
        )
        if stopped:
            raise Unavailable(f"stopped, see the log's `partition_stopped`: {stopped}")

    async def has_postgres(self) -> None:
        """Raise where Postgres does not answer, or takes no writes."""
        async with raw_connection(self.engine) as connection:
            if not await connection.fetchval(IS_WRITABLE):
                # Raised in here, so that the session leaves the pool: the server may take writes in another one.
                raise asyncpg.ReadOnlySQLTransactionError("Postgres takes no writes: a standby, or read-only")

    def live_checks(self) -> list[Check]:
        """What a dead process fails: to be restarted."""
        return [Check("consume_loop", self.is_consuming)]

    def ready_checks(self) -> list[Check]:
        """What a process fails that cannot do its job now."""
        return [
            Check("consume_loop", self.is_consuming),
            Check("assignment", self.is_assigned),
            Check("partitions", self.goes_on),
            Check("postgres", self.has_postgres),
            Check("kafka", self.publisher.is_ready),
            Check("kurrentdb", self.readiness.is_ready),
        ]

    async def ask_servers(self) -> None:
        """Ask Kafka and KurrentDB now and then, for ever: without work nobody else would say that one is lost.

        Postgres is asked for the lag of the expiry all the time.
        """
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self._ask("kafka", self.publisher.is_ready)
            await self._ask("kurrentdb", self.readiness.is_ready)
            # Whoever runs commands says that Postgres is away.
            with suppress(Unavailable):
                self.metrics.wallets_quarantined.set(await count_quarantined(self.engine))

    async def _ask(self, server: str, question: Callable[[], Awaitable[None]]) -> None:
        waiter = "watch"
        try:
            async with asyncio.timeout(ANSWER_S):
                await question()
        except (Unavailable, KafkaError, OSError, TimeoutError) as error:
            say_lost(server, waiter, f"{type(error).__name__}: {error}")
        else:
            say_back(server, waiter)

    async def watch(self) -> None:
        """Keep the gauges, for ever; raise `Fatal` where the consume loop stays dead."""
        dead = 0
        while dead < DEAD_LOOPS_MAX:
            await asyncio.sleep(WATCH_EVERY_S)
            dead = 0 if self.consuming() else dead + 1
            await self._measure()
        raise Fatal("the consume loop is dead: nothing more would be taken from Kafka")

    async def _measure(self) -> None:
        owned = self.owned()
        self.metrics.partitions_paused.set(sum(p.stopped_at is not None for p in owned))
        found = [self.intake.oldest_timestamp_ms(), *(p.stopped_ms for p in owned)]
        oldest = min((timestamp for timestamp in found if timestamp is not None), default=None)
        age = time.time() - oldest / 1000 if oldest is not None else 0.0
        self.metrics.oldest_unanswered_seconds.set(max(age, 0.0))
        consumer = self.consumer()
        # FastStream lets go of it while the process stops, which may take longer than it takes to look again.
        lags = await _lags(consumer, list(owned)) if consumer is not None else {}
        self.metrics.partition_lag.clear()
        for id_, records in lags.items():
            self.metrics.partition_lag.labels(id_.topic, str(id_.partition)).set(records)


async def _lags(consumer: AIOKafkaConsumer, owned: Collection[Partition]) -> dict[TopicPartition, int]:
    """How many records of each partition are not answered, as far as that is known."""
    ends = {p.id: find_end(consumer, p.id) for p in owned}
    # Nothing is read of those, so the consumer is not told how far they go by now.
    paused = [p.id for p in owned if p.stopped_at is not None or p.waiting]
    if paused:
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(END_ANSWER_S):
                ends |= await consumer.end_offsets(paused)
    firsts = {p.id: p.first_unanswered(find_position(consumer, p.id)) for p in owned}
    return {
        id_: max(end - first, 0) for id_, end in ends.items() if end is not None and (first := firsts[id_]) is not None
    }

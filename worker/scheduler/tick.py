"""Time → ticks: the scheduler's side. Each second one tick, from whichever scheduler holds the lease.

A tick twice is harmless, and so is one that is missing: the next one finds what is due. Kafka away is waited for.
Who does not hold the lease ticks all the same, but every `STAND_BY_S` only: a Redis that lies about who holds it, or a
holder that has lost Kafka but not Redis, may delay holds from expiring by so much, and cannot stop it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from worker.contracts.ticks import ExpireDueHolds
from worker.errors import Unavailable
from worker.kafka import connection_arguments
from worker.lease import Lease
from worker.outbox.publish import Message, Publisher
from worker.retry import until_available
from worker.settings import Settings
from worker.telemetry.metrics import SchedulerMetrics

TICK_EVERY_S = 1.0
STAND_BY_S = 30.0
NO_TIME = -1
"""Kafka's word for a record without a time."""


class Ticker:
    """Publishes ticks to the schedule topic; `run` does it, until it is cancelled."""

    def __init__(self, settings: Settings, metrics: SchedulerMetrics, stand_by_s: float = STAND_BY_S) -> None:
        self._stand_by_s = stand_by_s
        self._topic = settings.schedule_topic
        self._publisher = Publisher(connection_arguments(settings), settings.reply_topic)
        self._metrics = metrics
        # Schedulers of other topics may share the Redis.
        self._lease = Lease(settings, f"ticks:{settings.schedule_topic}")
        metrics.lease_held.labels("ticks").set_function(lambda: self._lease.number is not None)
        metrics.lease_number.labels("ticks").set_function(lambda: self._lease.number or 0)

    async def run(self) -> None:
        """Tick under the lease, and stand by without it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lease.hold(self._tick_each_second))
                group.create_task(self._stand_by())
        finally:
            await self._publisher.close()

    async def check(self) -> None:
        """For `/readyz`: raise where Kafka does not answer."""
        await self._publisher.is_ready()

    async def _tick_each_second(self) -> None:
        while True:
            await self._tick()
            await asyncio.sleep(TICK_EVERY_S)

    async def _stand_by(self) -> None:
        while True:
            await asyncio.sleep(self._stand_by_s)
            if not self._lease.granted:
                await self._tick()

    async def _tick(self) -> None:
        tick = ExpireDueHolds(type="ExpireDueHolds", lease_number=self._lease.number)
        value = tick.model_dump_json().encode()
        # Nobody asks for a tick's time: where this process's clock is refused, it goes out without one.
        message = Message(self._topic, None, value, (), is_reply=False, time_ms=NO_TIME)
        await until_available("kafka", partial(self._publish, message))
        self._metrics.ticks.inc()

    async def _publish(self, message: Message) -> None:
        for why in (await self._publisher.publish([message])).values():
            # Whatever has to be mended, the ticks go on by themselves once it is.
            raise Unavailable(why)

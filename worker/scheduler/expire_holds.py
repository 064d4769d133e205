"""Ticks → `ExpireHold` commands: the worker's side of the schedule.

A tick only wakes the sweep: many of them at once are one sweep, one that cannot be read is skipped, one that comes
while a sweep runs makes another. The sweep publishes the commands on the command topic, where each goes the way of
every other command; published twice, they are repeats or refused, and nothing else. It goes at a pace, so that a
million holds that are due at once are not a million commands in front of everybody's, and rests while its own worker is
stuck: late is harmless, for a late capture is refused. It waits for Postgres and Kafka for as long as it takes;
whatever goes wrong in it, the consumer of commands hears nothing of it, unless a server refuses us, which ends the
process.
Log: `holds_due` for each sweep that found something, `ticks_skipped`, `expiry_refused`, `expiry_failed`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import orjson
import structlog
from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.contracts.envelope import CORRELATION_ID, REPLY_TO, SPRING_CORRELATION_ID, ReplyTopics
from worker.contracts.ticks import read_tick
from worker.errors import Fatal
from worker.outbox.publish import Message, Publisher
from worker.retry import until_available
from worker.scheduler.due_holds import (
    PAGE_HOLDS,
    REPUBLISH_S,
    REPUBLISH_S_MAX,
    DueHold,
    claim_due_holds,
    expiry_id,
    read_lag_s,
)
from worker.telemetry.metrics import WorkerMetrics

CLOSE_PATIENCE_S = 5.0
MEASURE_EVERY_S = 5.0
"""Without a tick the lag is measured all the same: that no tick comes is what it is there to show."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class HoldExpiry:
    """The expiry of holds in this process. `publisher` is its own: its failures are not the replies'.

    `is_stuck` says that the worker answers nothing, `has_parked` that some of its commands wait for locks: then nothing
    is published, or nothing again.
    """

    engine: AsyncEngine
    publisher: Publisher
    metrics: WorkerMetrics
    command_topic: str
    reply_topics: ReplyTopics
    per_second: int = 200
    is_stuck: Callable[[], bool] = lambda: False
    has_parked: Callable[[], bool] = lambda: False
    republish_s: float = REPUBLISH_S
    republish_s_max: float = REPUBLISH_S_MAX
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _working: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _closed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def hear(self, records: Iterable[ConsumerRecord]) -> None:
        """Take the records of a poll of the schedule topic, whatever they hold, and have a sweep made. Never waits."""
        skipped = []
        for record in records:
            try:
                read_tick(record.value)
            except ValueError as error:
                skipped.append((record, str(error)))
            else:
                self._wanted.set()
        if skipped:
            record, why = skipped[0]
            first = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.warning("ticks_skipped", count=len(skipped), **first, error=" ".join(why.split()))

    async def run(self) -> None:
        """Sweep whenever a tick was heard, and measure the lag, for ever; raise `Fatal` where a server refuses us."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MEASURE_EVERY_S):
                    await self._wanted.wait()
            async with self._working:
                try:
                    await self._work()
                except Fatal:
                    raise
                except Exception:
                    # Holds that expire late must not end the process that runs the commands; the next tick tries again.
                    log.exception("expiry_failed")

    async def close(self) -> None:
        """Claim no more, and wait until what is claimed is published; if that takes long, it is published later."""
        self._closed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._working.acquire()

    async def sweep(self) -> int:
        """Publish an `ExpireHold` for each hold that is due, page by page until none is left; return how many."""
        began, published, lag_s = time.monotonic(), 0, 0.0
        # A page takes a second at most, so the pace holds for small and for large ones.
        page_holds = min(PAGE_HOLDS, self.per_second)
        while not self._closed.is_set() and not self.is_stuck():
            again = not self.has_parked()
            claim = partial(
                claim_due_holds, self.engine, self.republish_s, page_holds, self.republish_s_max, again=again
            )
            due = await until_available("postgres", claim)
            if not due:
                break
            messages = [expire_command(hold, self.command_topic, self.reply_topics) for hold in due]
            refused = await self.publisher.deliver(messages)
            self.metrics.expiries_published.inc(len(due) - len(refused))
            published, lag_s = published + len(due) - len(refused), max(lag_s, due[0].overdue_s)
            if refused:
                log.error("expiry_refused", count=len(refused), error=next(iter(refused.values())))
                break
            if len(due) < page_holds:
                break
            await self._measure_lag()
            await self._pause(page_holds / self.per_second)
        if published:
            took_ms = round((time.monotonic() - began) * 1000)
            log.info("holds_due", published=published, lag_s=round(lag_s, 3), took_ms=took_ms)
        return published

    async def _work(self) -> None:
        if self._wanted.is_set():
            # Before the sweep: a tick that comes while it runs makes another, which finds what this one overlooked.
            self._wanted.clear()
            await self.sweep()
        await self._measure_lag()

    async def _measure_lag(self) -> None:
        self.metrics.expiry_lag_seconds.set(await until_available("postgres", partial(read_lag_s, self.engine)))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not while this closes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()


def expire_command(hold: DueHold, command_topic: str, reply_topics: ReplyTopics) -> Message:
    """The record that expires `hold`, answered where its `PlaceHold` was, under the correlation ids that it came with.

    A reply topic that was allowed then and is not now would have the command refused for ever: it is left out, and the
    reply goes to the default one.
    """
    command = {
        "commandId": str(expiry_id(hold.id, hold.attempt)),
        "type": "ExpireHold",
        "walletId": hold.wallet_id,
        "holdId": hold.id,
    }
    reply_to = hold.reply_topic if hold.reply_topic is not None and reply_topics.allow(hold.reply_topic) else None
    named = {
        CORRELATION_ID: hold.correlation_id,
        SPRING_CORRELATION_ID: hold.kafka_correlation_id,
        REPLY_TO: reply_to.encode() if reply_to is not None else None,
    }
    headers = [(name, value) for name, value in named.items() if value is not None]
    key, value = hold.wallet_id.encode(), orjson.dumps(command)
    return Message(command_topic, key, value, headers, is_reply=False, time_ms=hold.claimed_at_ms)

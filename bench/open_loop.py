"""An open loop: commands that are due at times fixed in advance, whatever becomes of those before them.

So waiting counts: where the worker is held up for a second, all that falls due in that second waits, and each is
counted from when it was due, not from when it could be sent. Some of the commands are probes: credits to wallets of
their own, whose versions are known in advance, for which a search is asked until it sees them.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from bench.commands import Command
from bench.load import COMMAND_TOPIC, Replies, Timing, Waiting, open_replies, partition_of, together
from bench.visibility import Probe, Visibility

TICK_S = 0.005
"""What falls due within it is sent together; the wait is part of what is measured."""


class Due(NamedTuple):
    """A command and when it is due, in seconds from the beginning; `probe` is what must become visible, if anything."""

    at: float
    command: Command
    probe: Probe | None = None


class Latencies(NamedTuple):
    """Seconds from when a command was due: to its reply, for all; until a search saw its effect, for the probes."""

    reply_s: list[float]
    visible_s: list[float]


def arrivals(count: int, rate: float, chance: random.Random) -> list[float]:
    """Times, in seconds from the beginning, at which `count` independent senders' commands come at `rate` a second."""
    times, now = [], 0.0
    for _ in range(count):
        now += chance.expovariate(rate)
        times.append(now)
    return times


class OpenLoop:
    """A producer that sends at once and a consumer that waits for nothing."""

    def __init__(self, producer: AIOKafkaProducer, replies: Replies, visibility: Visibility, partitions: int) -> None:
        self._producer, self._replies, self._visibility = producer, replies, visibility
        self._partitions = partitions

    async def run(self, schedule: Sequence[Due]) -> tuple[Timing, Latencies]:
        """Send each command when it is due and wait for all replies and probes; LoadError where a reply is wrong."""
        probes = [due.probe for due in schedule if due.probe is not None]
        await self._replies.skip()
        # The load's own collector must not hold up what it measures.
        gc.collect()
        gc.freeze()
        cpu_before, began = time.process_time(), time.perf_counter()
        try:
            _, (reply_s, seconds), visible_s = await together(
                self._publish(schedule, began),
                self._collect(schedule, began),
                self._visibility.watch(probes, began),
            )
        finally:
            gc.unfreeze()
        timing = Timing(seconds, time.process_time() - cpu_before)
        return timing, Latencies(reply_s, visible_s)

    async def _publish(self, schedule: Sequence[Due], began: float) -> None:
        sent = []
        for at, command, _ in schedule:
            early = began + at - time.perf_counter()
            if early > 0:
                await asyncio.sleep(max(early, TICK_S))
            place = partition_of(command.key, self._partitions)
            sent.append(await self._producer.send(COMMAND_TOPIC, command.value, key=command.key, partition=place))
        await asyncio.gather(*sent)

    async def _collect(self, schedule: Sequence[Due], began: float) -> tuple[list[float], float]:
        """The latencies, and how long it all took."""
        due = {command.id: at for at, command, _ in schedule}
        waiting = Waiting([command for _, command, _ in schedule])
        took: list[float] = []
        now = 0.0
        while waiting:
            records = await self._replies.take(waiting)
            now = time.perf_counter() - began
            took += [now - due[waiting.account_for(record)] for record in records]
        return took, now


@asynccontextmanager
async def open_open_loop(bootstrap_servers: str, elasticsearch_url: str) -> AsyncIterator[OpenLoop]:
    """Connect; the worker and the projector must have made what is theirs."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    async with (
        producer,
        open_replies(producer, bootstrap_servers, fetch_bytes_min=1) as replies,
        Visibility.connect(elasticsearch_url) as visibility,
    ):
        yield OpenLoop(producer, replies, visibility, len(await producer.partitions_for(COMMAND_TOPIC)))

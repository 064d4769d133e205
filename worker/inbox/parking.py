"""Commands that wait for wallets which somebody else has locked, while the others go on.

Their partitions are paused, so that what waits stays bounded, and their offsets are held back. They are tried again
every `RETRY_S`; until they ran, nothing on their wallets, nor under their record keys, is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from worker.inbox.partitions import Partition
from worker.ledger.decide_batch import Received
from worker.ledger.settle import Parked

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that waits, and where its record stands."""

    partition: Partition
    record: ConsumerRecord
    received: Received


@dataclass(slots=True)
class ParkingLot:
    """The commands that wait, in order. `parked` says what must not overtake them.

    `settling` is held from a batch's first decision until what it parked has entered. `leave` needs it: until then
    `parked` says more than `waiting`, and to make it anew would let a later command overtake a parked one.
    """

    consumer: Callable[[], AIOKafkaConsumer]
    parked: Parked = field(default_factory=Parked)
    waiting: list[Waiting] = field(default_factory=list)
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def enter(self, waiting: Waiting) -> None:
        """Park a command that `settle` did not run."""
        self.waiting.append(waiting)
        waiting.partition.waiting.add(waiting.record.offset)
        if waiting.partition.owned:
            self.consumer().pause(waiting.partition.id)

    async def leave(self, ran: Iterable[Waiting]) -> None:
        """Let those go that ran meanwhile, and forget those whose partitions are no longer ours."""
        async with self.settling:
            self._leave(ran)

    def _leave(self, ran: Iterable[Waiting]) -> None:
        gone = {id(waiting) for waiting in ran}
        left = [waiting for waiting in self.waiting if id(waiting) in gone or not waiting.partition.owned]
        self.waiting = [waiting for waiting in self.waiting if id(waiting) not in gone and waiting.partition.owned]
        for waiting in left:
            waiting.partition.waiting.discard(waiting.record.offset)
        self.parked.wallets.clear()
        self.parked.keys.clear()
        for waiting in self.waiting:
            self.parked.add(waiting.received)
        still = {waiting.partition for waiting in self.waiting}
        for partition in {waiting.partition for waiting in left} - still:
            if partition.owned and partition.stopped_at is None:
                self.consumer().resume(partition.id)

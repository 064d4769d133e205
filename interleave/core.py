"""A worker core: everything from fetched records to committed offsets, put together as `worker.process` does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry

from interleave.clients import Admin, Consumer, Producer
from interleave.gates import Actor, Gates
from interleave.kafka import Kafka
from interleave.kurrentdb import KurrentDB, accept
from interleave.postgres import Engine, Postgres
from worker.contracts.envelope import ReplyTopics
from worker.inbox.assignment import Assignment
from worker.inbox.intake import Intake, Rules
from worker.inbox.parking import ParkingLot
from worker.inbox.pipeline import Pipeline
from worker.outbox.event_store import EventStore
from worker.outbox.publish import Publisher
from worker.telemetry.metrics import WorkerMetrics

RULES = Rules(ReplyTopics("replies", re.compile("replies")), 64 * 1024, "dlq")
POLL_AGAIN_S = 0.1

METRICS = WorkerMetrics(CollectorRegistry())


@dataclass
class Servers:
    """What a core reaches."""

    gates: Gates
    postgres: Postgres
    kurrentdb: KurrentDB
    kafka: Kafka
    alive: set[str] = field(default_factory=set)
    """The names of the cores that live."""
    lives: Iterator[int] = field(default_factory=count)


class Core:
    """One worker. `instance` is its group instance id, "" for none; `broke` is told an error that ends it."""

    def __init__(self, servers: Servers, name: str, instance: str, broke: Callable[[Core, Exception], None]) -> None:
        gates, kafka = servers.gates, servers.kafka
        self.actor = Actor(name)
        # Another one than of the core before it in its place.
        self.name = f"wallex-{name.replace(' ', '-')}-{next(servers.lives)}"
        self._alive = servers.alive
        self.consumer = Consumer(kafka, gates, instance)
        self._gates = gates
        self._broke = broke
        self.engine: Any = Engine(servers.postgres, name)
        consumer: Callable[[], Any] = lambda: self.consumer  # noqa: E731 - as the worker's parts take it
        store = EventStore("", accept, servers.kurrentdb.connect)
        publisher = Publisher({}, "replies", lambda _connection: _started(Producer(kafka, gates)))
        self.pipeline = Pipeline(store, self.engine, publisher, consumer, METRICS, "dlq")
        self.intake = Intake(self.name, self.engine, self.pipeline, ParkingLot(consumer), RULES, METRICS, consumer)
        admin: Any = Admin(kafka, gates)
        self.assignment = Assignment(
            admin,
            "group",
            consumer,
            name=self.name,
            # Of two under one instance id none ends: they go on for longer than in a worker.
            instance_id=None,
            find_alive=self._find_alive,
            drained=self.intake.drained,
            abandon=self.intake.abandon,
            stop=self._stop,
        )

    def start(self) -> None:
        """Begin to work."""
        self._alive.add(self.name)
        for work in (
            self.pipeline.run(),
            self.intake.run_parked(),
            self.consumer.keep_membership(self.assignment),
            self._read(),
        ):
            self.actor.start(work).add_done_callback(self._ended)

    def die(self) -> None:
        """End as a killed process does. Postgres notices some time later."""
        self._alive.discard(self.name)
        self.actor.die()
        self.engine.cut()

    async def _read(self) -> None:
        """What FastStream does, for ever: poll, and hand over."""
        while True:
            try:
                records = await self.consumer.getmany()
            except Exception:  # noqa: BLE001 - as FastStream does
                self.assignment.seek_back()
                self.assignment.note_poll()
                await asyncio.sleep(POLL_AGAIN_S)
                continue
            self.assignment.note_poll()
            await self._gates.call("hand over", _nothing)
            await self.intake.take(await self.assignment.claim(records))

    async def _find_alive(self, names: Collection[str]) -> frozenset[str]:
        return frozenset(names) & self._alive

    def _stop(self, error: Exception) -> None:
        self._broke(self, error)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not self.actor.dead:
            error = None if task.cancelled() else task.exception()
            self._broke(self, error if isinstance(error, Exception) else RuntimeError("a part ended by itself"))


async def _started(producer: Producer) -> Any:
    return producer


async def _nothing() -> None:
    pass

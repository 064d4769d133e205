"""The projector's loop: open the indices, follow the events, write each batch, note how far it came; for ever.

Safe to kill at any time and to run twice at once: what was written and not noted is written again, to no effect. A
server that is away is waited for. What waiting does not mend (`Fatal`: a refused document, the checkpoint of another
database) is raised: the process ends with a line that says what to do, rather than leave something out. An event that
is not ours is told and passed over.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence

import structlog
from elasticsearch import AsyncElasticsearch

from worker.errors import Fatal, Unavailable
from worker.garbage import tune_garbage_collection
from worker.outbox.event_store import open_check
from worker.projection.answers import Answers
from worker.projection.backoff import Backoff, unless
from worker.projection.bulk import Operation, PartlyWritten, make_operations, write_checkpoints, write_documents
from worker.projection.document import Event, RecordedEvent, UnreadableEvent
from worker.projection.elastic import IndexLost, connect_elasticsearch, elasticsearch_errors
from worker.projection.follow import EventLog
from worker.projection.foreign import read_ours, without_foreign
from worker.projection.index import (
    PROJECTIONS,
    Checkpoint,
    Index,
    Projection,
    lowest_checkpoint,
    open_index,
)
from worker.projection.progress import Lag
from worker.projection.subscription import Subscription
from worker.settings import PROJECTOR_HTTP_PORT, Settings
from worker.telemetry.health import Check, serve_health
from worker.telemetry.metrics import ProjectorMetrics, new_registry

CHECKPOINT_S = 1.0
"""Checkpoints are written this often: each costs as much as a small bulk of documents."""

Opener = Callable[[AsyncElasticsearch, Projection], Awaitable[Index]]
Watcher = Callable[[list[RecordedEvent], list[Event]], None]
"""Told of each batch once it is written: all of it, and what of it the contract knows."""

log = structlog.get_logger(__name__)


class ForeignCheckpoint(Fatal):
    """An index was made from another KurrentDB than the one at hand, or from more than that one has now."""


async def unchecked() -> None:
    """Nobody compares the stores."""


def _unwatched(_batch: list[RecordedEvent], _events: list[Event]) -> None:
    """Nobody watches."""


class Projector:
    """Keeps the indices of `projections`, which `open_one` opens, in sync with the wallets' events; `run` does it.

    `check` is awaited before each connection to KurrentDB, and raises where that is another installation's.
    """

    def __init__(
        self,
        client: AsyncElasticsearch,
        kurrentdb_uri: str,
        metrics: ProjectorMetrics,
        projections: Sequence[Projection] = PROJECTIONS,
        *,
        open_one: Opener = open_index,
        watch: Watcher = _unwatched,
        check: Callable[[], Awaitable[None]] = unchecked,
    ) -> None:
        self._client, self._uri, self._metrics, self._projections = client, kurrentdb_uri, metrics, projections
        self._open_one, self._watch, self._check = open_one, watch, check
        self._backoff, self._lag = Backoff(), Lag()
        self._is_following = False
        self._events: EventLog | None = None
        self._answers = Answers({"elasticsearch": self._ask_elasticsearch, "kurrentdb": self._ask_kurrentdb})
        metrics.lag_seconds.set_function(self._lag.seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set, then finish the batch at hand; raises `Fatal`."""
        asking = asyncio.create_task(self._answers.keep_asking())
        try:
            while not stop.is_set():
                try:
                    await self._follow(stop)
                except Unavailable as error:
                    await self._backoff.wait_out(error, stop)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        log.info("projection_stopped")

    async def check(self) -> None:
        """For `/readyz`: raise what keeps the projector from following, if anything does."""
        if self._backoff.trouble:
            raise self._backoff.trouble
        self._answers.check()
        if not self._is_following:
            raise Unavailable("not following yet")

    async def _follow(self, stop: asyncio.Event) -> None:
        """Follow from the lowest checkpoint until `stop` is set or something is lost, which is raised."""
        indices = [await self._open_one(self._client, projection) for projection in self._projections]
        await self._check()
        async with EventLog.connect(self._uri) as events:
            await refuse_foreign_checkpoints(events, indices)
            start = lowest_checkpoint(indices)
            async with events.subscribe(start) as subscription:
                log.info("projection_following", after=start, indices=[index.name for index in indices])
                self._is_following, self._events = True, events
                self._lag.follow(subscription)
                idle = asyncio.create_task(self._say_when_idle(subscription))
                try:
                    await self._write_batches(indices, subscription, stop)
                finally:
                    idle.cancel()
                    self._lag.follow(None)
                    self._is_following, self._events = False, None

    async def _ask_elasticsearch(self) -> None:
        # No shard is asked: one that was just made, or is being moved, does not answer for a moment.
        with elasticsearch_errors():
            await self._client.indices.exists_alias(name=self._projections[0].alias)

    async def _ask_kurrentdb(self) -> None:
        # Not followed: whoever tries to says that it is lost.
        if self._events is not None:
            await self._events.ask()

    async def _say_when_idle(self, subscription: Subscription) -> None:
        """With nothing to write, what is lost is back once the server has said so: no event may come for long."""
        await subscription.until_caught_up()
        if self._lag.is_nothing_missing():
            self._backoff.back()

    async def _write_batches(self, indices: list[Index], subscription: Subscription, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        noted_at = clock()
        while batch := await unless(stop, subscription.take_batch()):
            events = read_ours(batch, self._metrics.events_skipped)
            self._lag.begin(events)
            written = await self._write_ours(indices, events, stop)
            if written is None:
                return
            self._lag.finish(events)
            self._watch(batch, written)
            self._metrics.events.inc(len(batch))
            self._metrics.commit_position.set(batch[-1].commit_position)
            if not await unless(stop, subscription.has_more_within(noted_at + CHECKPOINT_S - clock())):
                await write_checkpoints(self._client, indices, Checkpoint(batch[-1].commit_position, batch[-1].id))
                noted_at = clock()

    async def _write_ours(self, indices: list[Index], events: list[Event], stop: asyncio.Event) -> list[Event] | None:
        """Write the documents of `events`, and return them without those that are not ours; None if `stop` came first.

        What cannot be written, though every event is what the contract says, is raised.
        """
        while True:
            try:
                return events if await self._write(make_operations(indices, events), stop) else None
            except (Fatal, UnreadableEvent):
                ours = without_foreign(events, self._projections, self._metrics.events_skipped)
                if len(ours) == len(events):
                    raise
                events = ours

    async def _write(self, operations: list[Operation], stop: asyncio.Event) -> bool:
        """Write all of `operations`, however long it takes; False if `stop` came first."""
        while operations:
            try:
                with self._metrics.bulk_seconds.time():
                    await write_documents(self._client, operations)
                break
            except IndexLost:
                raise
            except Unavailable as error:
                if stop.is_set():
                    return False
                operations = error.left if isinstance(error, PartlyWritten) else operations
                await self._backoff.wait_out(error, stop)
        self._backoff.back()
        return True


async def refuse_foreign_checkpoints(events: EventLog, indices: Sequence[Index]) -> None:
    """Raise `ForeignCheckpoint` unless each checkpoint's event stands in `events` where the index saw it.

    KurrentDB takes a position beyond its end in silence, and says nothing until it gets there.
    """
    for index in indices:
        if index.checkpoint is None:
            continue
        position, event_id = index.checkpoint
        found = await events.event_at(position)
        if found is None or found.id != event_id:
            stands = f"event {found.id} is there" if found else "no wallet's event is there"
            aliases = " and ".join(one.projection.alias for one in indices)
            raise ForeignCheckpoint(
                f"the index {index.name} was made from another KurrentDB, or from a newer state of this one: its "
                f"checkpoint is event {event_id} at position {position}, but {stands}. Point KURRENTDB_URI to the one "
                f"it was made from, or make {aliases} anew from this one: `wallex projection rebuild`"
            )


async def run_projector(settings: Settings) -> None:
    """The whole process: health and metrics, then follow until SIGTERM or SIGINT; raises as `Projector.run` does."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    registry = new_registry()
    port = PROJECTOR_HTTP_PORT if settings.http_port is None else settings.http_port
    uri = settings.kurrentdb_uri.get_secret_value()
    async with (
        connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as client,
        open_check(settings) as check,
    ):
        projector = Projector(client, uri, ProjectorMetrics(registry), check=check)
        ready = [Check("projection", projector.check)]
        async with serve_health(host=settings.http_host, port=port, registry=registry, ready=ready):
            tune_garbage_collection()
            await projector.run(stop)

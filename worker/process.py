"""The worker's process: its clients, its stages, its health; started, drained and closed in this order.

`start` waits for Postgres, Kafka and KurrentDB for as long as it takes; that one refuses us, or that the stores do not
belong together, ends it at once. `drain` answers what was taken before the consumer leaves its group. Whatever makes it
impossible to go on ends in `stop`: the process then exits with the error's one line, and `STOP_DEADLINE_S` later in any
case, for a process that hangs in its own shutdown keeps its partitions from others.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from worker.contracts.envelope import ReplyTopics
from worker.database import create_engine, find_alive, raw_connection
from worker.errors import Fatal, Unavailable
from worker.garbage import tune_garbage_collection
from worker.health import Watched
from worker.inbox.assignment import Assignment
from worker.inbox.intake import Intake, Rules
from worker.inbox.parking import ParkingLot
from worker.inbox.partitions import Partition
from worker.inbox.pipeline import Pipeline
from worker.inbox.twin import is_fenced, twin_error
from worker.kafka import KafkaRefused, connection_arguments, start
from worker.migration import run_migrations, sync_tables
from worker.outbox.event_store import EventStore
from worker.outbox.installation import Installation
from worker.outbox.publish import Publisher
from worker.postgres_errors import from_postgres
from worker.retry import until_available
from worker.scheduler.expire_holds import HoldExpiry
from worker.settings import WORKER_HTTP_PORT, Settings
from worker.telemetry.health import serve_health
from worker.telemetry.metrics import WorkerMetrics, new_registry
from worker.topics import ensure_topics

EXIT_FATAL = 70
"""`EX_SOFTWARE` of sysexits.h: the process could not go on, and said why."""
DRAIN_TIMEOUT_S = 30.0
STOP_DEADLINE_S = 60.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Process:
    """One worker.

    `consumer` gives FastStream's consumer once it is started, `consuming` says whether its loop runs, `leave` asks
    FastStream to shut down.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        consumer: Callable[[], AIOKafkaConsumer],
        consuming: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        self._name, self._settings = name, settings
        self._leave = leave
        self._resources = AsyncExitStack()
        self._registry = new_registry()
        self.error: Exception | None = None
        self.consumer = consumer
        self.metrics = WorkerMetrics(self._registry)
        self.engine = create_engine(settings, name=name)
        installation = Installation(self.engine)
        self.store = EventStore(settings.kurrentdb_uri.get_secret_value(), installation.check)
        self.publisher = Publisher(connection_arguments(settings), settings.reply_topic)
        self.pipeline = Pipeline(self.store, self.engine, self.publisher, consumer, self.metrics, settings.dlq_topic)
        rules = _rules(settings)
        self.intake = Intake(name, self.engine, self.pipeline, ParkingLot(consumer), rules, self.metrics, consumer)
        self.expiry = HoldExpiry(
            self.engine,
            Publisher(connection_arguments(settings), settings.reply_topic),
            self.metrics,
            settings.command_topics[0],
            rules.reply_topics,
            per_second=settings.expiries_per_second,
            is_stuck=self.pipeline.is_stuck,
            has_parked=lambda: bool(self.intake.parking.waiting),
        )
        self.assignment: Assignment | None = None
        self._watched = Watched(
            create_engine(settings, connections=1, name=name),
            self.publisher,
            self.intake,
            EventStore(settings.kurrentdb_uri.get_secret_value(), installation.check),
            self.metrics,
            consumer,
            consuming,
            self._owned,
        )

    async def start(self) -> None:
        """Open everything, and take over nothing yet: FastStream starts the consumer afterwards, unless this raises."""
        try:
            await self._start()
        except Exception as error:
            self.error = error
            await self._resources.aclose()
            raise

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        """Run the records of a poll. Never raises: FastStream would go on with the next ones."""
        if self.assignment is None:
            return
        try:
            await self.intake.take(await self.assignment.claim(records))
        except Exception as error:  # noqa: BLE001 - the batch boundary
            self.stop(error)

    async def poll(self, poll: Callable[[], Awaitable[T]]) -> T:
        """Await a poll of the consumer; where it fails, what it may have lost is read again."""
        try:
            return await poll()
        except Exception as error:
            if is_fenced(error):
                self.stop(twin_error(self._settings.kafka_group_instance_id))
            if self.assignment is not None:
                self.assignment.seek_back()
            raise
        finally:
            if self.assignment is not None:
                self.assignment.note_poll()

    def ended_by(self, error: Exception) -> Exception | None:
        """What to tell of `error`, which ended the application; None where it was unexpected."""
        if is_fenced(error):
            return twin_error(self._settings.kafka_group_instance_id)
        return error if error is self.error else None

    def stop(self, error: Exception) -> None:
        """End the process because of `error`; the first one counts."""
        if self.error is None:
            self.error = error
            self.intake.closed = True
            log.error("stopping", error=f"{type(error).__name__}: {error}", exc_info=not isinstance(error, Fatal))
            self._leave()

    async def drain(self) -> None:
        """Take no more, and answer what was taken, for at most `DRAIN_TIMEOUT_S`."""
        deadline = threading.Timer(STOP_DEADLINE_S, os._exit, [EXIT_FATAL])
        deadline.daemon = True
        deadline.start()
        self._resources.callback(deadline.cancel)
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await asyncio.gather(self.intake.close(), self.expiry.close())
        except TimeoutError:
            log.warning("stopped_in_flight", why="not answered in time: the next owner runs these records again")

    async def close(self) -> None:
        """Close everything; raise the error that ended the process, if one did."""
        await self._resources.aclose()
        log.info("worker_stopped")
        if self.error is not None:
            raise self.error

    def _owned(self) -> Collection[Partition]:
        return () if self.assignment is None else self.assignment.owned.values()

    async def _start(self) -> None:
        settings = self._settings
        self._resources.push_async_callback(self.engine.dispose)
        self._resources.push_async_callback(self.store.close)
        self._resources.push_async_callback(self.publisher.close)
        self._resources.push_async_callback(self.expiry.publisher.close)
        port = WORKER_HTTP_PORT if settings.http_port is None else settings.http_port
        self._resources.push_async_callback(self._watched.engine.dispose)
        self._resources.push_async_callback(self._watched.readiness.close)
        live, ready = self._watched.live_checks(), self._watched.ready_checks()
        await self._resources.enter_async_context(
            serve_health(host=settings.http_host, port=port, registry=self._registry, live=live, ready=ready)
        )
        await self._prepare_database()
        admin = await until_available("kafka", self._prepare_kafka)
        await until_available("kurrentdb", self.store.is_ready)
        self.assignment = Assignment(
            admin,
            settings.kafka_group_id,
            self.consumer,
            name=self._name,
            instance_id=settings.kafka_group_instance_id,
            find_alive=lambda names: find_alive(self._watched.engine, names),
            drained=self.intake.drained,
            abandon=self.intake.abandon,
            stop=self.stop,
        )
        self._run_forever("pipeline", self.pipeline.run())
        self._run_forever("parking", self.intake.run_parked())
        self._run_forever("expiry", self.expiry.run())
        self._run_forever("assignment", self.assignment.watch())
        self._run_forever("watch", self._watched.watch())
        self._run_forever("questions", self._watched.ask_servers())
        tune_garbage_collection()
        log.info("worker_started", topics=settings.command_topics, group=settings.kafka_group_id)

    async def _prepare_database(self) -> None:
        async def prepare() -> None:
            try:
                if self._settings.db_sync:
                    await sync_tables(self._settings)
                if self._settings.db_run_migrations:
                    await run_migrations(self._settings)
                async with raw_connection(self.engine):
                    pass
            except Exception as error:
                raise from_postgres(error) or error from error

        await until_available("postgres", prepare)

    async def _prepare_kafka(self) -> AIOKafkaAdminClient:
        connection = connection_arguments(self._settings)
        admin = AIOKafkaAdminClient(**connection)
        try:
            await start(admin, connection)
            await ensure_topics(admin, self._settings)
        except KafkaRefused as error:
            await admin.close()
            raise Fatal(str(error)) from error
        except (KafkaError, OSError) as error:
            await admin.close()
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        except BaseException:
            await admin.close()
            raise
        self._resources.push_async_callback(admin.close)
        return admin

    def _run_forever(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else; that it ends by itself is the end of the process."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled() and (task.cancelling() or self.intake.closed):
                return
            error = None if task.cancelled() else task.exception()
            self.stop(error or Fatal(f"the {name} ended by itself"))  # type: ignore[arg-type]

        task.add_done_callback(ended)
        self._resources.callback(task.cancel)


def _rules(settings: Settings) -> Rules:
    reserved = frozenset({*settings.command_topics, settings.schedule_topic, settings.dlq_topic})
    topics = ReplyTopics(settings.reply_topic, settings.reply_topic_pattern, reserved)
    return Rules(topics, settings.max_command_bytes, settings.dlq_topic)

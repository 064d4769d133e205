"""The worker's composition root: every client of the process is made, started and closed here, the handler bound here.

`faststream run worker.app:app` and `wallex worker` run the same application. FastStream drives the consumer; the rest
of its comfort is switched off where it would lose commands: its parser raises on a null header (and the batch is gone),
its acknowledgement commits what was not processed. The handler gets the records as aiokafka read them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from worker.contracts.commands import Command
from worker.contracts.ticks import ExpireDueHolds
from worker.inbox.assignment import Assignment
from worker.inbox.partitions import BATCH_RECORDS_MAX
from worker.inbox.twin import name_process
from worker.kafka import connection_arguments, is_dead
from worker.process import Process
from worker.settings import Settings
from worker.telemetry.logs import configure_logs

POLL_IDLE_MS = 5
FETCH_WAIT_MS = 50
SESSION_TIMEOUT_MS = 15_000
HEARTBEAT_MS = 3_000
REBALANCE_TIMEOUT_MS = 60_000
# A batch waits for as long as a server is away; whether the process is alive is judged by /livez, not by Kafka.
POLL_INTERVAL_MAX_MS = 24 * 60 * 60 * 1000
GRACEFUL_TIMEOUT_S = 5.0
"""What was taken is answered before FastStream is stopped: whatever still runs then waits for a server in vain."""
METADATA_AGE_MAX_MS = 5_000
"""How soon partitions that are added to a command topic are noticed: until then nobody answers what lies in them."""
REQUEST_TIMEOUT_MS = 15_000
"""aiokafka opens one connection after another: one that a broker which is just coming up never answers holds up the
whole consumer for so long."""

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


def create_app(settings: Settings) -> tuple[FastStream, Process]:
    """The application for `settings`, and the process behind it, which knows the error that ended it."""
    configure_logs(settings.log_level)
    faststream_log = logging.getLogger("worker.faststream")
    # Its lines for each batch say less than ours; what goes wrong in Kafka it says as an error.
    faststream_log.setLevel(logging.ERROR)
    name = name_process()
    broker = KafkaBroker(
        settings.kafka_bootstrap_servers,
        security=_broker_security(settings),
        consumer_only=True,
        apply_types=False,
        allow_auto_create_topics=False,
        graceful_timeout=GRACEFUL_TIMEOUT_S,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_AGE_MAX_MS,
        logger=faststream_log,
    )
    app = FastStream(broker, logger=faststream_log)

    commands = _raw_subscriber(
        broker,
        *settings.command_topics,
        group_id=settings.kafka_group_id,
        group_instance_id=settings.kafka_group_instance_id,
        max_records=BATCH_RECORDS_MAX,
        batch_timeout_ms=POLL_IDLE_MS,
        ack_policy=AckPolicy.MANUAL,
        listener=_Listener(lambda: process.assignment),
        isolation_level="read_committed",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        fetch_max_wait_ms=FETCH_WAIT_MS,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
        description="Wallet commands.",
    )
    schedule = _raw_subscriber(
        broker,
        settings.schedule_topic,
        group_id=f"{settings.kafka_group_id}-schedule",
        group_instance_id=settings.kafka_group_instance_id,
        # Committed once they are heard, before they are acted upon: a tick that is lost is followed by another. Not by
        # the consumer itself: closed without a coordinator, aiokafka tries that for ever, and the process does not end.
        ack_policy=AckPolicy.ACK,
        description="Ticks of the scheduler.",
    )

    @commands
    async def run_commands(records: list[Command]) -> None:
        # The annotation is for FastStream's AsyncAPI page: what arrives are the records that `decode` returned.
        await process.handle(cast(Sequence[ConsumerRecord], records))

    @schedule
    async def hear_ticks(records: list[ExpireDueHolds]) -> None:
        process.expiry.hear(cast(Sequence[ConsumerRecord], records))

    def consuming() -> bool:
        # A dead loop only counts where it is the commands': a worker that hears no ticks still does its main job. But a
        # consumer that holds its partitions and reads no more keeps ticks, too, from those who would hear them.
        if is_dead(commands.consumer) or is_dead(schedule.consumer):
            return False
        return not commands.tasks or any(not task.done() for task in commands.tasks)

    _watch_polls(commands, lambda: process)
    process = Process(name, settings, lambda: cast(AIOKafkaConsumer, commands.consumer), consuming, app.exit)
    app.on_startup(process.start)
    app.on_shutdown(process.drain)
    app.after_shutdown(process.close)
    return app, process


def _raw_subscriber(broker: KafkaBroker, *topics: str, **arguments: Any) -> BatchSubscriber:
    """A subscriber whose handler gets the records of a poll as aiokafka read them, and answers nothing."""

    # Both are coroutines: FastStream runs plain functions in a thread each, which costs more than a small batch.
    async def parse(batch: tuple[ConsumerRecord, ...]) -> KafkaAckableMessage:
        # FastStream's own parser decodes headers: one that is null or binary would cost it the whole batch.
        consumer = cast(AIOKafkaConsumer, subscriber.consumer)
        return KafkaAckableMessage(raw_message=batch, body=batch, consumer=consumer, correlation_id="-")

    async def decode(message: KafkaAckableMessage) -> tuple[ConsumerRecord, ...]:
        return cast(tuple[ConsumerRecord, ...], message.raw_message)

    subscriber: BatchSubscriber = broker.subscriber(
        *topics,
        batch=True,
        no_reply=True,
        parser=parse,
        decoder=decode,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        **arguments,
    )
    return subscriber


def _watch_polls(subscriber: BatchSubscriber, process: Callable[[], Process]) -> None:
    """Have the process know of each poll: FastStream would go on after a failed one as if it had read nothing."""
    read = subscriber.get_msg

    async def poll(consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        return await process().poll(lambda: read(consumer))

    subscriber.get_msg = poll  # type: ignore[method-assign]


def _broker_security(settings: Settings) -> BaseSecurity | None:
    """What `connection_arguments` say, in FastStream's words."""
    said = connection_arguments(settings)
    ssl_context = said.get("ssl_context")
    if "sasl_mechanism" in said:
        security = _SASL[said["sasl_mechanism"]]
        username, password = said["sasl_plain_username"], said["sasl_plain_password"]
        return security(username, password, ssl_context, ssl_context is not None)
    return BaseSecurity(ssl_context, use_ssl=True) if ssl_context is not None else None


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Passes on to the assignment, which is made when the process starts."""

    def __init__(self, assignment: Callable[[], Assignment | None]) -> None:
        self._assignment = assignment

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        assignment = self._assignment()
        if assignment is not None:
            await assignment.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        assignment = self._assignment()
        if assignment is not None:
            await assignment.on_partitions_assigned(assigned)


def __getattr__(name: str) -> object:
    # `faststream run worker.app:app` reads the environment when it asks for the app, not when the module is imported.
    if name == "app":
        return create_app(Settings.load())[0]
    raise AttributeError(name)

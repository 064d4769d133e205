"""Dead letters back onto the command topics they came from: the same key, bytes and headers, as the next attempt.

The letter stays in its topic. Safe to repeat: a command runs again only as the attempt behind the stored one (contract,
"Replies", promise 2), so a letter that was replayed before is answered with what came of that, or not replayed at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.stores import open_postgres, postgres_errors
from worker.cli.dead_letters import OWN_HEADERS, Letter, Place, read_letter
from worker.cli.output import printable
from worker.cli.reply_topic import kafka_errors, open_consumer, partitions_of
from worker.cli.topic_reader import read_record, read_topic
from worker.contracts.envelope import DLQ_ATTEMPT
from worker.contracts.replies import ErrorCode
from worker.database import raw_connection
from worker.kafka import connection_arguments
from worker.ledger.recall import recall
from worker.outbox.publish import Message, Publisher
from worker.settings import Settings

ATTEMPTS_MAX = 9_999
"""As far as a worker reads the header."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: those at `places`, or all, or all with `code`; of these the unreadable ones only on demand."""

    places: Sequence[Place] = ()
    code: ErrorCode | None = None
    unreadable: bool = False

    def takes(self, letter: Letter) -> bool:
        """Whether a letter that was not asked for by place is among them."""
        return self.code in (None, letter.code) and (self.unreadable or letter.command_id is not None)


class Replayed(NamedTuple):
    """What became of a letter: it was published, or `refused` says why not. `letter` is None where there is none."""

    place: Place
    letter: Letter | None
    refused: str | None


class _Last(NamedTuple):
    """The last letter of a record so far."""

    attempt: int
    place: Place


async def replay(settings: Settings, wanted: Wanted) -> AsyncIterator[Replayed]:
    """Replay letters, the oldest first, each acknowledged by Kafka before the next.

    Letters that were not asked for by place are passed over where their command has run since, where a later letter
    has the same key and bytes, and where no `commandId` can be read: that record would only come back as a letter.
    Raises `KafkaAway` and `Unavailable`: the next one may have been published then.
    """
    async with AsyncExitStack() as clients:
        consumer = await clients.enter_async_context(open_consumer(settings))
        engine = await clients.enter_async_context(open_postgres(settings))
        publisher = Publisher(connection_arguments(settings), settings.reply_topic)
        clients.push_async_callback(publisher.close)
        with kafka_errors(settings):
            topics = {one.topic for one in await partitions_of(consumer, settings.command_topics)}
            async for place, letter in _read(settings, consumer, engine, wanted):
                refused = _why_not(settings, topics, letter) or await _why_not_again(engine, letter)
                if letter is not None and refused is None:
                    refused = (await publisher.publish([_as_record(letter)])).get(0)
                yield Replayed(place, letter, refused)


async def read_letter_at(settings: Settings, consumer: AIOKafkaConsumer, place: Place) -> Letter | None:
    """The dead letter at `place`; None where there is none."""
    record = await read_record(consumer, TopicPartition(settings.dlq_topic, place.partition), place.offset)
    return None if record is None else read_letter(record)


async def _read(
    settings: Settings, consumer: AIOKafkaConsumer, engine: AsyncEngine, wanted: Wanted
) -> AsyncIterator[tuple[Place, Letter | None]]:
    for place in wanted.places:
        yield place, await read_letter_at(settings, consumer, place)
    if wanted.places:
        return
    # Read twice, so that only their places are held.
    last: dict[bytes, _Last] = {}
    async for letter in _read_all(settings, consumer, wanted):
        before = last.get(_content(letter))
        if before is None or letter.attempt >= before.attempt:
            last[_content(letter)] = _Last(letter.attempt, letter.place)
    places = {kept.place for kept in last.values()}
    async for letter in _read_all(settings, consumer, wanted):
        if letter.place in places and await _why_not_again(engine, letter) is None:
            yield letter.place, letter


async def _read_all(settings: Settings, consumer: AIOKafkaConsumer, wanted: Wanted) -> AsyncIterator[Letter]:
    async for record in read_topic(consumer, settings.dlq_topic):
        letter = read_letter(record)
        if letter is not None and wanted.takes(letter):
            yield letter


def _content(letter: Letter) -> bytes:
    """The same for the letters of one record, which each further attempt at it makes."""
    return blake2b(repr((letter.topic, letter.key, letter.value)).encode()).digest()


def _why_not(settings: Settings, topics: set[str], letter: Letter | None) -> str | None:
    if letter is None:
        return f"there is no dead letter there in {settings.dlq_topic}"
    if letter.is_truncated:
        return "its record was too large to be kept whole, so that nobody knows what it said"
    if letter.topic not in settings.command_topics:
        known = ", ".join(settings.command_topics)
        return f"it came from {printable(letter.topic)}, expected a topic of COMMAND_TOPICS: {known}"
    if letter.topic not in topics:
        return f"there is no topic {letter.topic}"
    if letter.attempt >= ATTEMPTS_MAX:
        return f"{ATTEMPTS_MAX} attempts have failed"
    return None


async def _why_not_again(engine: AsyncEngine, letter: Letter | None) -> str | None:
    """Whether the command would not run, but be answered with what is stored of it.

    That is what one of a quarantined wallet waits for: it took effect, and was not answered.
    """
    if letter is None or letter.command_id is None or letter.code == ErrorCode.WALLET_QUARANTINED:
        return None
    with postgres_errors():
        async with raw_connection(engine) as connection:
            ran = (await recall(connection, [letter.command_id])).get(letter.command_id)
    if ran is None or ran.may_run_again_as(letter.attempt + 1):
        return None
    return f"its command has run since, as attempt {ran.attempt}: `wallex command {letter.command_id}` shows it"


def _as_record(letter: Letter) -> Message:
    """The record as it came, but for the attempt. No partition: the key decides it, as it did for the sender."""
    came_with = [(name, value) for name, value in letter.headers if name not in OWN_HEADERS]
    attempt = str(letter.attempt + 1).encode()
    return Message(letter.topic, letter.key, letter.value, [*came_with, (DLQ_ATTEMPT, attempt)], is_reply=False)

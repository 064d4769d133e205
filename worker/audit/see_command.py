"""What every store knows of one command: what was answered, and each event that it made, in each store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.audit.documents import Document, find_lines
from worker.audit.ledger_pages import Key, read_page
from worker.audit.sight import Away, Unreadable, look
from worker.audit.stores import open_postgres, postgres_errors
from worker.audit.streams import Streams
from worker.database import raw_connection
from worker.ledger.entry import Entry
from worker.projection.document import RecordedEvent
from worker.projection.elastic import connect_elasticsearch
from worker.projection.index import STATEMENT
from worker.settings import Settings

READ_ATTEMPTS = """
SELECT attempt, type, error_code, reply, received_at, event_wallet_ids::text[], event_versions
FROM commands
WHERE command_id = $1::uuid
ORDER BY attempt
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `commands`: what was decided, what was answered (JSON text), and the events that it made."""

    attempt: int
    type: str
    error_code: str | None
    reply: str
    received_at: datetime
    made: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class CommandSight:
    """A command in each store. For each event that it made: its entry, recorded event and line, where they are.

    A line is missing in good order where an event moved no money.
    """

    attempts: Sequence[Attempt] | Away | Unreadable
    entries: dict[Key, Entry]
    events: dict[Key, RecordedEvent] | Away | Unreadable
    lines: dict[Key, Document] | Away | Unreadable

    @property
    def is_known(self) -> bool:
        """Whether any store knows it."""
        return any(isinstance(one, (list, dict)) and one for one in (self.attempts, self.lines))


async def see_command(settings: Settings, command_id: str) -> CommandSight:
    """Ask Postgres and Elasticsearch, and KurrentDB for the events that Postgres names."""
    booked, lines = await asyncio.gather(
        look(_in_postgres(settings, command_id)), look(_in_elasticsearch(settings, command_id))
    )
    if not isinstance(booked, tuple):
        return CommandSight(booked, {}, Away("not asked: only Postgres knows which events it made"), lines)
    attempts, entries = booked
    events = await look(_in_kurrentdb(settings, [key for attempt in attempts for key in attempt.made]))
    return CommandSight(attempts, entries, events, lines)


async def _in_postgres(settings: Settings, command_id: str) -> tuple[list[Attempt], dict[Key, Entry]]:
    async with open_postgres(settings) as engine:
        attempts = await _read_attempts(engine, command_id)
        pages = [
            await read_page(engine, Key(key.wallet_id, key.version - 1), key.wallet_id, limit=1)
            for attempt in attempts
            for key in attempt.made
        ]
    found = {Key(*entry[:2]): entry for page in pages for entry in page.entries}
    return attempts, {key: found[key] for attempt in attempts for key in attempt.made if key in found}


async def _read_attempts(engine: AsyncEngine, command_id: str) -> list[Attempt]:
    with postgres_errors():
        async with raw_connection(engine) as connection:
            rows = await connection.fetch(READ_ATTEMPTS, command_id)
    return [
        Attempt(attempt, type_, error_code, reply, received_at, tuple(map(Key, wallet_ids, versions)))
        for attempt, type_, error_code, reply, received_at, wallet_ids, versions in rows
    ]


async def _in_kurrentdb(settings: Settings, made: Sequence[Key]) -> dict[Key, RecordedEvent]:
    async with Streams.connect(settings.kurrentdb_uri.get_secret_value()) as streams:
        found = {key: await streams.read(key.wallet_id, key.version, 1) for key in made}
    return {key: events[0] for key, events in found.items() if events and events[0].revision == key.version}


async def _in_elasticsearch(settings: Settings, command_id: str) -> dict[Key, Document]:
    async with connect_elasticsearch(settings.elasticsearch_url.get_secret_value()) as client:
        return {Key(*line.key): line for line in await find_lines(client, STATEMENT.alias, command_id)}

"""`wallex command ID`: what was answered to a command, and each event that it made, in each store.

A command that could not be read (`InvalidCommand`, `InvalidAmount`) is stored nowhere: of that one the reply topic
tells, for as long as it keeps the reply.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer
from aiokafka import ConsumerRecord

from worker.audit.documents import Document
from worker.audit.ledger_pages import Key
from worker.audit.see_command import Attempt, CommandSight, see_command
from worker.audit.sight import Away, Unreadable
from worker.cli.entries import entry_as_json
from worker.cli.output import (
    fail,
    new_table,
    plain,
    print_json,
    print_json_text,
    print_table,
    quiet_clients,
    say,
    show_time,
)
from worker.cli.reply_topic import KafkaAway, kafka_errors, open_consumer, read_reply
from worker.cli.topic_reader import read_topic
from worker.contracts.envelope import COMMAND_ID
from worker.contracts.money import format_money
from worker.contracts.times import format_time, from_milliseconds
from worker.ledger.entry import Entry
from worker.projection.document import RecordedEvent
from worker.settings import Settings

ABSENT = "none"

Id = Annotated[UUID, typer.Argument(help="The command's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("command")(command)


def command(id_: Id, as_json: AsJson = False) -> None:
    """Show what every store knows of a command, or its replies where none does. Exit 1: there are none either."""
    settings = Settings.load()
    quiet_clients(settings)
    sight = asyncio.run(see_command(settings, str(id_)))
    replies, trouble = [], ""
    if not sight.is_known:
        try:
            replies = asyncio.run(_find_replies(settings, str(id_)))
        except KafkaAway as error:
            trouble = f"; {error}"
    if as_json:
        print_json(_as_json(str(id_), sight) | {"replies": [orjson.Fragment(reply.value) for reply in replies]})
    else:
        _print(str(id_), sight)
        for reply in replies:
            say(f"not stored; answered in {settings.reply_topic}, {show_time(from_milliseconds(reply.timestamp))}")
            print_json_text(reply.value.decode())
    if not sight.is_known and not replies:
        fail(f"no store that answers knows a command {id_}, nor does a reply in {settings.reply_topic}{trouble}", 1)


async def _find_replies(settings: Settings, command_id: str) -> list[ConsumerRecord]:
    """The replies to a command in REPLY_TOPIC, the oldest first; raises `KafkaAway`."""
    wanted = (COMMAND_ID, command_id.encode())
    async with open_consumer(settings) as consumer:
        with kafka_errors(settings):
            found = [record async for record in read_topic(consumer, settings.reply_topic) if wanted in record.headers]
    return [record for record in found if read_reply(record.value) is not None]


def _print(command_id: str, sight: CommandSight) -> None:
    for store, seen in (("Postgres", sight.attempts), ("KurrentDB", sight.events), ("Elasticsearch", sight.lines)):
        if isinstance(seen, (Away, Unreadable)):
            say(f"{store} {type(seen).__name__.lower()}: {seen.reason.removeprefix(f'{store}: ')}")
    for attempt in sight.attempts if isinstance(sight.attempts, list) else ():
        outcome = f"rejected: {attempt.error_code}" if attempt.error_code else "accepted"
        say(f"{attempt.type} {command_id}, attempt {attempt.attempt}: {outcome}")
        say(f"received {show_time(attempt.received_at)}, answered with")
        print_json_text(attempt.reply)
    keys = _keys(sight)
    if keys:
        columns = ("wallet", "version", "event", "amount", "balance", "ledger", "KurrentDB", "Elasticsearch")
        table = new_table("events that it made", columns, ("version", "amount", "balance"))
        for key in keys:
            table.add_row(*plain(*_row(key, sight)))
        print_table(table)


def _keys(sight: CommandSight) -> list[Key]:
    """The events that the command made, in the order that it made them, as far as any store knows."""
    attempts = sight.attempts if isinstance(sight.attempts, list) else []
    lines = sight.lines if isinstance(sight.lines, dict) else {}
    return list(dict.fromkeys([*(key for attempt in attempts for key in attempt.made), *lines]))


def _row(key: Key, sight: CommandSight) -> list[object]:
    entry = sight.entries.get(key)
    shown = [""] * 3
    if entry is not None:
        amount = format_money(entry.amount) if entry.amount is not None else ""
        shown = [entry.event_type, amount, format_money(entry.balance)]
    return [
        *key,
        *shown,
        "?" if isinstance(sight.attempts, Away) else ABSENT if entry is None else f"event {entry.event_id}",
        _place(sight.events, key, entry),
        _place(sight.lines, key, entry),
    ]


def _place(
    seen: dict[Key, RecordedEvent] | dict[Key, Document] | Away | Unreadable, key: Key, entry: Entry | None
) -> str:
    """What a store has at `key`: the ledger's event, another one, or none."""
    if not isinstance(seen, dict):
        return "?"
    found = seen.get(key)
    if found is None:
        return ABSENT
    return "the same" if entry is not None and found.id == entry.event_id else f"event {found.id}"


def _as_json(command_id: str, sight: CommandSight) -> dict[str, Any]:
    return {
        "commandId": command_id,
        "attempts": _or_trouble(sight.attempts, lambda found: [_attempt_as_json(one) for one in found]),
        "entries": [entry_as_json(entry) for entry in sight.entries.values()],
        "events": _or_trouble(sight.events, lambda found: [_event_as_json(one) for one in found.values()]),
        "documents": _or_trouble(sight.lines, lambda found: [one.source for one in found.values()]),
    }


def _or_trouble(seen: Any, show: Any) -> Any:
    if isinstance(seen, (Away, Unreadable)):
        return {type(seen).__name__.lower(): seen.reason}
    return show(seen)


def _attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "type": attempt.type,
        "status": "rejected" if attempt.error_code else "accepted",
        "errorCode": attempt.error_code,
        "receivedAt": format_time(attempt.received_at),
        "reply": orjson.Fragment(attempt.reply),
    }


def _event_as_json(event: RecordedEvent) -> dict[str, Any]:
    return {
        "stream": event.stream,
        "revision": event.revision,
        "eventId": event.id,
        "eventType": event.type,
        "data": _as_it_came(event.data),
        "metadata": _as_it_came(event.metadata or b"{}"),
    }


def _as_it_came(text: bytes) -> orjson.Fragment | str:
    """JSON as it is; what somebody else wrote and is none, as text."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode(errors="replace")
    return orjson.Fragment(text)

"""`wallex dlq …`: the records that could not be run, and a way back for them.

A dead letter is known by its place in the dead-letter topic, PARTITION:OFFSET, as `list` shows it. Reading leaves no
trace; a replay leaves the letter where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from worker.cli import EXIT_USAGE
from worker.cli.dead_letters import Letter, Place, read_letter, read_place
from worker.cli.letter_table import HEADING, letter_as_json, letter_line, print_letter, whole_letter_as_json
from worker.cli.output import fail, print_json, quiet_clients, say
from worker.cli.replay import Replayed, Wanted, read_letter_at, replay
from worker.cli.reply_topic import KafkaAway, kafka_errors, open_consumer
from worker.cli.topic_reader import read_topic
from worker.contracts.replies import ErrorCode
from worker.errors import WallexError
from worker.settings import Settings

PLACE = "PARTITION:OFFSET"

At = Annotated[Place, typer.Argument(parser=read_place, metavar=PLACE, help="Which one, as `list` shows it.")]
Places = Annotated[
    list[Place] | None,
    typer.Argument(parser=read_place, metavar=f"[{PLACE}]...", help="Which ones, as `list` shows them."),
]
Code = Annotated[ErrorCode | None, typer.Option("--code", help="Those with this code.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Unreadable = Annotated[bool, typer.Option("--unreadable", help="Also those without a readable commandId.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object a line.")]

commands = typer.Typer(help="List, show and replay dead letters.")


def register(app: typer.Typer) -> None:
    """Hang the commands into `app`."""
    app.add_typer(commands, name="dlq")


@commands.command("list")
def list_letters(code: Code = None, as_json: AsJson = False) -> None:
    """List the dead letters in DLQ_TOPIC, the newest last."""
    with _settings() as settings:
        asyncio.run(_list(settings, code, as_json=as_json))


@commands.command()
def show(place: At, as_json: AsJson = False) -> None:
    """Show one dead letter with its headers and its value. Exit 1: there is none."""
    with _settings() as settings:
        letter = asyncio.run(_find(settings, place))
    if letter is None:
        fail(f"there is no dead letter at {place} in {settings.dlq_topic}", 1)
    if as_json:
        print_json(whole_letter_as_json(letter))
    else:
        print_letter(letter)


@commands.command("replay")
def replay_letters(places: Places = None, code: Code = None, all_: All = False, unreadable: Unreadable = False) -> None:
    """Send dead letters back to the command topics they came from, to run again under the same ids.

    Of several with the same bytes the last one; a command that has run since is left alone. With --code and --all,
    records without a readable commandId are left out, unless --unreadable says otherwise. Exit 1: some were not
    replayed.
    """
    if [bool(places), code is not None, all_].count(True) != 1:
        fail(f"which dead letters? Expected {PLACE}, as `wallex dlq list` shows it, or --code, or --all", EXIT_USAGE)
    with _settings() as settings:
        refused = asyncio.run(_replay(settings, Wanted(tuple(places or ()), code, unreadable)))
    if refused:
        raise typer.Exit(1)


async def _list(settings: Settings, code: ErrorCode | None, *, as_json: bool) -> None:
    foreign = 0
    async with open_consumer(settings) as consumer:
        if not as_json:
            say(HEADING)
        with kafka_errors(settings):
            async for record in read_topic(consumer, settings.dlq_topic):
                letter = read_letter(record)
                if letter is None:
                    foreign += 1
                elif code in (None, letter.code):
                    _print(letter, as_json=as_json)
    if foreign:
        say(f"wallex: passed over {foreign} records of {settings.dlq_topic} that are no dead letters", err=True)


def _print(letter: Letter, *, as_json: bool) -> None:
    if as_json:
        print_json(letter_as_json(letter))
    else:
        say(letter_line(letter))


async def _find(settings: Settings, place: Place) -> Letter | None:
    async with open_consumer(settings) as consumer:
        with kafka_errors(settings):
            return await read_letter_at(settings, consumer, place)


async def _replay(settings: Settings, wanted: Wanted) -> int:
    """Replay, and tell each; return how many were refused."""
    replayed = refused = 0
    async for one in replay(settings, wanted):
        replayed += one.refused is None
        refused += one.refused is not None
        _tell(one)
    say(f"replayed {replayed}, not replayed {refused}")
    return refused


def _tell(one: Replayed) -> None:
    if one.letter is None or one.refused is not None:
        say(f"wallex: {one.place} is not replayed: {one.refused}", err=True)
    else:
        what = f"command {one.letter.command_id}" if one.letter.command_id else "a record without a readable commandId"
        say(f"{one.place} to {one.letter.topic}: {what}, attempt {one.letter.attempt + 1}")


@contextmanager
def _settings() -> Iterator[Settings]:
    """Give the settings, and turn a server that is away into one line and exit code 1."""
    settings = Settings.load()
    quiet_clients(settings)
    try:
        yield settings
    except (KafkaAway, WallexError) as error:
        fail(str(error), 1)

"""`wallex send`: publish one command as an upstream service does, and wait for its reply.

Checked before it is sent, under the key that keeps a wallet's commands in order, acknowledged by all replicas. Without
an answer the outcome is unknown, and the same command may be sent again under the same id: it takes effect once.
"""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import uuid4

import typer

from worker.cli.notation import NotationError, check_command, read_fields
from worker.cli.output import fail, print_json, print_json_text, quiet_clients, say
from worker.cli.publishing import Answer, NotPublished, OutcomeUnknown, Outgoing, Published, publish
from worker.cli.reply_table import print_reply
from worker.contracts.envelope import ReplyTopics
from worker.domain.decide import wallet_ids
from worker.settings import Settings

EXIT_REJECTED = 1
EXIT_NO_ANSWER = 2
EXIT_USAGE = 64
TIMEOUT_S = 30.0

Type = Annotated[str, typer.Argument(help="The command's type, such as CreditWallet.")]
Fields = Annotated[list[str] | None, typer.Argument(help="key=text or key:=json", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the reply and show it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="How many seconds to wait for it.")]
ReplyTo = Annotated[str | None, typer.Option("--reply-to", help="The topic for the reply.", show_default=False)]
Id = Annotated[str | None, typer.Option("--id", help="The command's id; drawn if missing.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="For a script: one object on one line.")]


def register(app: typer.Typer) -> None:
    """Hang the command into `app`."""
    app.command("send")(send)


def send(  # noqa: PLR0917 -- typer calls it by name: these are the options
    type_: Type,
    fields: Fields = None,
    wait: Wait = False,
    timeout: Timeout = TIMEOUT_S,
    reply_to: ReplyTo = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Publish one command. Exit 0 accepted (without --wait: published), 1 rejected, 2 no answer, 64 a wrong command."""
    settings = Settings.load()
    quiet_clients(settings)
    try:
        outgoing = _prepare(settings, type_, fields or [], id_, reply_to)
    except NotationError as error:
        fail(f"not sent: {error}", EXIT_USAGE)
    try:
        sent = asyncio.run(publish(settings, outgoing, timeout if wait else None))
    except NotPublished as error:
        fail(f"not sent: {error}", EXIT_NO_ANSWER)
    except OutcomeUnknown as error:
        again = f"send the same again with --id {outgoing.command.command_id}: it takes effect at most once"
        fail(f"{error}, so the outcome is unknown: {again}", EXIT_NO_ANSWER)
    _show(outgoing, sent, as_json=as_json)


def _prepare(settings: Settings, type_: str, arguments: list[str], id_: str | None, reply_to: str | None) -> Outgoing:
    """The command that was typed, checked, with an id if it has none; `NotationError` says what is wrong with it."""
    fields = read_fields(arguments)
    if id_ is not None and "commandId" in fields:
        raise NotationError("--id and commandId= both name the command's id, expected one of them")
    command, value = check_command(type_, {"commandId": id_ or str(uuid4())} | fields)
    if len(value) > settings.max_command_bytes:
        limit = f"a command has at most {settings.max_command_bytes} (MAX_COMMAND_BYTES)"
        raise NotationError(f"it has {len(value)} bytes, {limit}")
    topics = ReplyTopics(settings.reply_topic, settings.reply_topic_pattern)
    if reply_to is not None and not topics.allow(reply_to):
        pattern = settings.reply_topic_pattern.pattern
        raise NotationError(f"--reply-to {reply_to!r}: expected a topic that REPLY_TOPIC_PATTERN allows, {pattern}")
    return Outgoing(
        command=command,
        value=value,
        topic=settings.command_topics[0],
        # The wallet that the command is about, for a transfer the one that pays (contract, "Kafka topics").
        key=wallet_ids(command)[0].encode(),
        correlation_id=str(uuid4()),
        reply_to=reply_to,
    )


def _show(outgoing: Outgoing, sent: Published | Answer, *, as_json: bool) -> None:
    """Show the reply, or where the command went; exit code 1 for a rejection."""
    if isinstance(sent, Published):
        place = {"commandId": outgoing.command.command_id, "correlationId": outgoing.correlation_id, **sent._asdict()}
        if as_json:
            print_json(place)
        else:
            say(f"published {outgoing.command.type} {outgoing.command.command_id} to {sent}")
        return
    if as_json:
        print_json_text(sent.value.decode())
    else:
        print_reply(sent.reply, replayed=sent.replayed)
    if sent.reply.status == "rejected":
        raise typer.Exit(EXIT_REJECTED)

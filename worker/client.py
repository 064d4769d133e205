"""What an upstream Python service imports: send a command, await its reply.

    async with WalletClient() as wallets:
        match await wallets.transfer(source, target, "12.50"):
            case Accepted(wallets=[paid, _]):
                print(paid.available_balance)
            case Rejected(code=ErrorCode.INSUFFICIENT_FUNDS, details=details):
                print(details["available"])

A rejection is a value. Exceptions are for what is no answer: `NotSent` (nothing was sent, for sure), `OutcomeUnknown`
(it may take effect; the same command may be sent again, under its id: it takes effect at most once), and `TypeError` or
`ValueError` for arguments that are no command, before anything is sent. Thousands of commands may be in flight.
Relies on Kafka alone: neither a database nor a framework is imported.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import uuid4

from pydantic import ValidationError

from worker.contracts.calls import Asked, CommandCalls, command_of, part
from worker.contracts.commands import Command
from worker.contracts.envelope import ReplyTopics
from worker.contracts.replies import ErrorCode
from worker.contracts.results import Accepted, Rejected, Result, read_result
from worker.domain.decide import wallet_ids
from worker.domain.reading import unreadable
from worker.exchange import Exchange, NotSent, Unanswered, open_exchange
from worker.settings import Settings

__all__ = ["Accepted", "ErrorCode", "NotSent", "OutcomeUnknown", "Rejected", "Result", "WalletClient", "part"]

TIMEOUT_S = 30.0


class OutcomeUnknown(TimeoutError):
    """The command may have taken effect, or may yet; `await wallets.send(error.command)` asks again, harmlessly."""

    def __init__(self, reason: str, command: Command) -> None:
        super().__init__(
            f"{reason}: the outcome of {command.type} {command.command_id} is unknown; "
            "send the same command again, it takes effect at most once"
        )
        self.command = command


class WalletClient(CommandCalls[Coroutine[Any, Any, Result]]):
    """Each command as a method to await.

    `settings` are those of the environment unless given (`Settings(kafka_bootstrap_servers="kafka:9092")`).
    `reply_topic` is the shared one, `REPLY_TOPIC`, unless a topic of one's own is named: it must exist, and
    `REPLY_TOPIC_PATTERN` must allow it. A reply is waited for `timeout_s` at most.
    """

    def __init__(
        self, settings: Settings | None = None, *, reply_topic: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._settings = settings or Settings.load()
        self._reply_topic = reply_topic or self._settings.reply_topic
        self._timeout_s = timeout_s
        self._exchange: Exchange | None = None
        self._opened = AsyncExitStack()
        pattern = self._settings.reply_topic_pattern
        if not ReplyTopics(self._settings.reply_topic, pattern).allow(self._reply_topic):
            raise ValueError(
                f"reply_topic {self._reply_topic!r}: expected one that REPLY_TOPIC_PATTERN allows, {pattern.pattern}"
            )

    async def __aenter__(self) -> Self:
        """Connect; `NotSent` where Kafka or one of the topics is not there."""
        self._exchange = await self._opened.enter_async_context(open_exchange(self._settings, self._reply_topic))
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close. Commands that are still in flight end with `OutcomeUnknown`."""
        self._exchange = None
        await self._opened.aclose()

    async def send(self, command: Command) -> Result:
        """Send `command` and return its answer; the same command again gets the same answer, marked `replayed`.

        Raises `NotSent` or `OutcomeUnknown`. Cancelling forgets the answer, not the command.
        """
        if self._exchange is None:
            raise NotSent("the client is not open: expected `async with WalletClient() as wallets:` around it")
        value, key = self._encode(command), wallet_ids(command)[0].encode()
        try:
            return await self._exchange.ask(
                key, value, self._timeout_s, lambda record: read_result(command, record.value, record.headers)
            )
        except Unanswered as error:
            raise OutcomeUnknown(str(error), command) from error
        except ValidationError as error:
            raise OutcomeUnknown(f"the reply could not be read, {error.title} expected", command) from error

    def _encode(self, command: Command) -> bytes:
        # What is as it is by default is left out: the worker fills it in.
        value = command.model_dump_json(exclude_defaults=True).encode()
        limit = self._settings.max_command_bytes
        if len(value) > limit:
            raise NotSent(f"{command.type} has {len(value)} bytes, a command has at most {limit} (MAX_COMMAND_BYTES)")
        return value

    def _ask(self, asked: Asked) -> Coroutine[Any, Any, Result]:
        return self.send(_read_command(asked))


def _read_command(asked: Asked) -> Command:
    """The command that is asked for, as the worker will read it; `ValueError` says in one line why it would not."""
    try:
        return command_of(asked, asked.command_id or str(uuid4()))
    except ValidationError as error:
        refused = unreadable(error).details
    raise ValueError(f"{asked.fields['type']}: {refused['path']}: {refused['reason']}")

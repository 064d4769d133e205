"""What a direct call asks for, read as strictly as a record from Kafka; a refusal becomes an error with the id."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError

from worker.contracts.calls import Asked, Id, command_of, part_of
from worker.contracts.commands import Command, Part
from worker.contracts.fields import UUID_PATTERN
from worker.contracts.replies import Reply
from worker.domain.reading import NUL_REASON, has_nul, invalid_command, unreadable
from worker.domain.rejections import Rejected
from worker.errors import RejectedError, rejected_error
from worker.ledger.decide_batch import Outcome

T = TypeVar("T", Command, Part)


def read_command(asked: Asked, command_id: str) -> Command:
    """The command that is asked for; raises `InvalidCommandError` or `InvalidAmountError`."""
    return _read(asked, command_id, lambda: command_of(asked, command_id))


def read_part(asked: Asked, command_id: str) -> Part:
    """The part that is asked for in the transaction `command_id`; raises as `read_command`, and `TypeError`."""
    return _read(asked, command_id, lambda: part_of(asked))


def read_id(command_id: Id | None) -> str:
    """The command id as text: a new one where none is given. Raises `InvalidCommandError`."""
    text = str(uuid4() if command_id is None else command_id)
    if not re.fullmatch(UUID_PATTERN, text):
        raise refusal(text, invalid_command("command_id", "an id is a UUID in lower case with hyphens"))
    return text


def refusal(command_id: str, rejected: Rejected) -> RejectedError:
    """The error that says that the command was refused."""
    return rejected_error(command_id, rejected.code, rejected.message, rejected.details)


def accepted(command_id: str, outcome: Outcome) -> Reply:
    """The reply to an accepted command; raises the `RejectedError` of a refused one."""
    # A repeat gets the stored reply, and a later release may have added a field to it.
    reply = Reply.model_validate_json(outcome.reply, extra="ignore")
    if reply.error is not None:
        raise rejected_error(command_id, reply.error.code, reply.error.message, reply.error.details)
    return reply


def _read(asked: Asked, command_id: str, read: Callable[[], T]) -> T:
    if has_nul(asked.fields):
        raise refusal(command_id, invalid_command("", NUL_REASON))
    try:
        return read()
    except ValidationError as error:
        raise refusal(command_id, unreadable(error)) from None

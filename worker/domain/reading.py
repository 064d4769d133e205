"""Why a command cannot be read, whichever door it came through. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.replies import ErrorCode
from worker.domain.rejections import Rejected

REASON_CHARACTERS_MAX = 300
NUL_REASON = "U+0000 cannot stand in a text"


def unreadable(error: ValidationError) -> Rejected:
    """The first error that is not about an amount, else the first: InvalidCommand comes before InvalidAmount."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((found for found in errors if found["type"] != INVALID_AMOUNT), None)
    if first is not None:
        return invalid_command(_path(first), first["msg"])
    return Rejected(
        ErrorCode.INVALID_AMOUNT, "The amount is not valid.", {"path": _path(errors[0]), "reason": errors[0]["msg"]}
    )


def invalid_command(path: str, reason: str) -> Rejected:
    """What was sent is no command: `reason` says why, `path` where."""
    # A path may hold an unknown field's name, as long as the sender liked.
    details = {"path": path[:REASON_CHARACTERS_MAX], "reason": reason[:REASON_CHARACTERS_MAX]}
    return Rejected(ErrorCode.INVALID_COMMAND, "The command cannot be read.", details)


def has_nul(value: Any) -> bool:
    """Whether U+0000, which Postgres cannot store, stands in any text of `value`."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, Sequence) and any(map(has_nul, value))


def _path(error: ErrorDetails) -> str:
    # The first step is the name of the command's type, by which its model was chosen; so is a part's, behind its index.
    steps = error["loc"][1:]
    if steps[0:1] == ("commands",):
        steps = steps[:2] + steps[3:]
    return ".".join(map(str, steps))

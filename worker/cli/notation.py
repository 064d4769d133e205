"""A command as it is typed: `walletId=… amount=12.50 expectedVersion:=7`, in httpie's notation.

`key=text` is a text, `key:=json` any JSON. What comes out is held against the same models that the worker reads with,
so a command that would be refused as unreadable is refused here, where it was typed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from worker.contracts.commands import COMMAND, COMMAND_TYPES, Command
from worker.contracts.exact_json import find_inexact

_FIELD = re.compile(r"([^=:]+)(:=|=)(.*)", re.DOTALL)
_KNOWN_TYPES = ", ".join(model.__name__ for model in COMMAND_TYPES)


class NotationError(ValueError):
    """What was typed is no command; the message says where and why."""


def read_fields(arguments: Sequence[str]) -> dict[str, Any]:
    """The fields that `key=text` and `key:=json` arguments name; `NotationError` for anything else."""
    fields: dict[str, Any] = {}
    for argument in arguments:
        match = _FIELD.fullmatch(argument)
        if match is None:
            raise NotationError(f"{argument!r}: expected key=text or key:=json, such as amount=12.50")
        name, separator, text = match.groups()
        if name == "type":
            raise NotationError(f"{argument!r}: the type is the first argument, expected other fields here")
        if name in fields:
            raise NotationError(f"{argument!r}: {name} is there already, expected each field once")
        fields[name] = text if separator == "=" else _read_json(argument, name, text)
    return fields


def check_command(type_: str, fields: dict[str, Any]) -> tuple[Command, bytes]:
    """The command, and the bytes that travel: what was typed, in the order that it was typed in."""
    value = orjson.dumps({"type": type_, **fields})
    try:
        return COMMAND.validate_json(value, by_alias=True, by_name=False), value
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    if any(problem["type"] == "union_tag_invalid" and not problem["loc"] for problem in problems):
        raise NotationError(f"{type_!r} is no command's type: expected one of {_KNOWN_TYPES}")
    # The first step of a place is the type, by which its model was chosen.
    raise NotationError(
        "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in problems)
    )


def _read_json(argument: str, name: str, text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotationError(f"{argument!r}: what follows := is not JSON ({error}); for a text, use key=text") from error
    # Here, and not on what travels: it is written from values in which nothing is left of it.
    inexact = find_inexact(f"{{{orjson.dumps(name).decode()}:{text}}}")
    if inexact is not None:
        raise NotationError(f"{'.'.join(map(str, inexact.path))}: {inexact.reason}")
    return value

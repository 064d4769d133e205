"""What an example is: a value that the contract allows, or one that it refuses, with where and why.

`but` makes a bad one out of a good one, so that exactly one thing is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.replies import ErrorCode


@dataclass(frozen=True, slots=True)
class Valid:
    """A value that the contract allows. `why` says what it shows."""

    name: str
    why: str
    value: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        """Its file in the message's folder of examples."""
        return f"valid-{self.name}.json"

    def index_entry(self) -> dict[str, Any]:
        """What the index of the examples says about it."""
        return {"valid": True, "why": self.why}


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that the contract refuses.

    `path` is the place of the fault as a reply's details name it, `error` the model's own word for it, `code` what a
    sender is answered (None where nobody is: events and replies are only written). `schema_refuses` is False where
    JSON Schema cannot say what is wrong.
    """

    name: str
    why: str
    value: Mapping[str, Any]
    path: str
    error: str
    code: ErrorCode | None = None
    schema_refuses: bool = True

    @property
    def file_name(self) -> str:
        """Its file in the message's folder of examples."""
        return f"invalid-{self.name}.json"

    def index_entry(self) -> dict[str, Any]:
        """What the index of the examples says about it."""
        code = {} if self.code is None else {"code": self.code.value}
        return {"valid": False, "why": self.why, "path": self.path, **code, "schemaRefuses": self.schema_refuses}


Example = Valid | Invalid


def invalid_command(
    name: str, why: str, value: Mapping[str, Any], path: str, error: str, *, by_schema: bool = True
) -> Invalid:
    """A command that is refused, with the code that its sender is answered."""
    code = ErrorCode.INVALID_AMOUNT if error == INVALID_AMOUNT else ErrorCode.INVALID_COMMAND
    return Invalid(name, why, value, path, error, code, schema_refuses=by_schema)


def but(value: Mapping[str, Any], /, **changes: Any) -> dict[str, Any]:
    """`value` with some fields added or replaced."""
    return {**value, **changes}


def without(value: Mapping[str, Any], /, name: str) -> dict[str, Any]:
    """`value` without its field `name`."""
    return {key: kept for key, kept in value.items() if key != name}

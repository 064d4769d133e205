"""What the tests of the contracts share: the files of `schemas/`, and how a model refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError

from worker.contracts.commands import COMMAND, COMMAND_TYPES

SCHEMAS = Path(__file__).parents[3] / "schemas"

ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
PART_TYPES = frozenset(model.__name__ for model in COMMAND_TYPES)
WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"


def schema_validator(path: str) -> Draft202012Validator:
    """The validator of one file of `schemas/`, as somebody has it who knows nothing else."""
    schema = json.loads((SCHEMAS / path).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def credit(**changes: Any) -> dict[str, Any]:
    """A good `CreditWallet`, with some fields added or replaced."""
    return {"commandId": ID, "type": "CreditWallet", "walletId": WALLET, "amount": "12.5000", **changes}


def credit_json(name: str, raw: str) -> bytes:
    """A `CreditWallet` with the field `name` written as the JSON text `raw`, however odd."""
    without = {key: value for key, value in credit().items() if key != name}
    return f'{json.dumps(without)[:-1]}, "{name}": {raw}}}'.encode()


def command_record(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> ConsumerRecord:
    """A record as aiokafka gives it, from `wallet.commands`."""
    key_bytes, value_bytes = len(WALLET), len(value or b"")
    return ConsumerRecord(
        "wallet.commands", 3, 1024, 1795348800000, 0, WALLET.encode(), value, None, key_bytes, value_bytes, headers
    )


def command_faults(raw: bytes) -> list[tuple[str, str]]:
    """The path and error type of each fault of the command `raw`, the path as a reply's details have it."""
    return [(path.partition(".")[2], error) for path, error in faults(COMMAND, raw)]


def faults(model: type[BaseModel] | TypeAdapter[Any], raw: bytes) -> list[tuple[str, str]]:
    """The path (`error.code`) and error type of each fault that `model` finds in `raw`; empty if it takes it."""
    try:
        if isinstance(model, TypeAdapter):
            model.validate_json(raw, by_alias=True, by_name=False)
        else:
            model.model_validate_json(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        return [(".".join(_steps(fault["loc"])), fault["type"]) for fault in error.errors()]
    return []


def _steps(place: tuple[int | str, ...]) -> Iterator[str]:
    """The steps to a fault, without the type behind a part's index: it says which model was chosen."""
    for before, step in zip((None, *place), place, strict=False):
        if not (isinstance(before, int) and step in PART_TYPES):
            yield str(step)


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in a JSON Schema or an AsyncAPI document."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)

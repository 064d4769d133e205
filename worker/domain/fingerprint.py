"""What tells a command that is repeated from another one under the same id: a hash of what it means. Pure.

The hash is stored for ever, so what goes into it may never change: `ALWAYS_COUNTED` is frozen. A field that a later
release adds to a command counts only where it differs from its default, under the name that travels: whoever does not
know the field, and whoever leaves it out, come to the same hash as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple, get_args

import orjson

from worker.contracts.commands import Command, PartModel

FINGERPRINT_BYTES = 16

FINGERPRINT_FORMAT = 1
"""The format in which the fingerprint of a command is stored that runs now. An optional field more needs no other one;
a value that is to be written in another way does (docs/architecture.md, "Adding a field")."""

_ASKED = ("type", "reference", "metadata")
_VERSIONED = (*_ASKED, "expected_version")

ALWAYS_COUNTED: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    1: {
        "CreateWallet": (*_ASKED, "wallet_id", "owner_id", "currency", "initial_balance"),
        "CreditWallet": (*_VERSIONED, "wallet_id", "amount", "currency"),
        "DebitWallet": (*_VERSIONED, "wallet_id", "amount", "currency"),
        "Transfer": (*_VERSIONED, "from_wallet_id", "to_wallet_id", "amount", "currency"),
        "PlaceHold": (*_VERSIONED, "wallet_id", "hold_id", "amount", "hold_type", "expires_at"),
        "ReleaseHold": (*_VERSIONED, "wallet_id", "hold_id"),
        "CaptureHold": (*_VERSIONED, "wallet_id", "hold_id", "amount", "to_wallet_id"),
        "ExpireHold": (*_VERSIONED, "wallet_id", "hold_id"),
        "SuspendWallet": (*_VERSIONED, "wallet_id", "reason"),
        "ReactivateWallet": (*_VERSIONED, "wallet_id", "reason"),
        "CloseWallet": (*_VERSIONED, "wallet_id"),
        "UpdateMetadata": (*_VERSIONED, "wallet_id"),
        "Atomic": (*_ASKED, "commands"),
    },
}
"""For each format, the fields of each type that count whatever their value, under these names. A format that was once
released stays as it is, and a new field is never added to it."""

_NOT_MEANING = frozenset({"command_id", "not_after"})


class _Later(NamedTuple):
    """A field that counts only where it differs from `default`."""

    name: str
    alias: str
    default: object


def fingerprint(command: Command, format_number: int = FINGERPRINT_FORMAT) -> bytes:
    """A hash of what `command` means: everything but its id and `notAfter`, defaults filled in, amounts normalised.

    `format_number` is one of `ALWAYS_COUNTED`: only hashes in the same format can be compared.
    """
    meaning = orjson.dumps(
        _counted(command, format_number), default=_meaning_in(format_number), option=orjson.OPT_SORT_KEYS
    )
    return blake2b(meaning, digest_size=FINGERPRINT_BYTES).digest()


@cache
def _meaning_in(format_number: int) -> Callable[[Decimal | PartModel], object]:
    """What writes a part of a group by its fields, as a command is; money as text."""

    def meaning(value: Decimal | PartModel) -> object:
        return str(value) if isinstance(value, Decimal) else _counted(value, format_number)

    return meaning


def _counted(asked: PartModel, format_number: int) -> dict[str, Any]:
    values = asked.__dict__
    always, later = _fields(type(asked), format_number)
    counted = {name: values[name] for name in always}
    for name, alias, default in later:
        if values[name] != default:
            counted[alias] = values[name]
    return counted


@cache
def _fields(model: type[PartModel], format_number: int) -> tuple[tuple[str, ...], tuple[_Later, ...]]:
    """The fields of `model` that always count, and those that were added later."""
    (type_,) = get_args(model.model_fields["type"].annotation)
    always = ALWAYS_COUNTED[format_number].get(type_, ())
    later = (
        _Later(name, field.alias or name, field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if name not in always and name not in _NOT_MEANING
    )
    return always, tuple(later)

"""Commands from Python arguments: `build.transfer(source, target, "12.50")` is a checked `Transfer`, ready to travel.

One function for each type of command. All of them take the same options by name: `command_id` (the idempotency key;
drawn where it is missing), `not_after`, `reference`, and where the contract has them `expected_version` and `metadata`.
What the worker would refuse as unreadable is refused here, in one line: a `TypeError` for a float as an amount (a
binary float is not money), a `ValueError` for anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4

from pydantic import ValidationError

from worker.contracts import commands as model
from worker.contracts.status import HoldType

Id = str | UUID
AmountLike = str | Decimal | int
Metadata = dict[str, Any]

VALUE_SHOWN_MAX = 80
"""Characters of a wrong value that an error repeats."""

_AMOUNTS = ("amount", "initial_balance")


class Options(TypedDict, total=False):
    """What every command may say besides its own fields."""

    command_id: Id
    not_after: datetime
    reference: str


class VersionedOptions(Options, total=False):
    """The same for a wallet that is there already: it must be at `expected_version`."""

    expected_version: int


class EventOptions(VersionedOptions, total=False):
    """The same with `metadata` of the event."""

    metadata: Metadata


_Model = TypeVar("_Model", bound=model.CommandModel)


def create_wallet(
    wallet_id: Id,
    owner_id: str,
    currency: str | None = None,
    initial_balance: AmountLike | None = None,
    *,
    metadata: Metadata | None = None,
    **options: Unpack[Options],
) -> model.CreateWallet:
    """Open a wallet, in USD and empty unless said otherwise; `metadata` is the wallet's."""
    fields = {"owner_id": owner_id, "currency": currency, "initial_balance": initial_balance, "metadata": metadata}
    return _build(model.CreateWallet, options, wallet_id=wallet_id, **fields)


def credit(
    wallet_id: Id, amount: AmountLike, currency: str | None = None, **options: Unpack[EventOptions]
) -> model.CreditWallet:
    """Pay money in."""
    return _build(model.CreditWallet, options, wallet_id=wallet_id, amount=amount, currency=currency)


def debit(
    wallet_id: Id, amount: AmountLike, currency: str | None = None, **options: Unpack[EventOptions]
) -> model.DebitWallet:
    """Pay money out."""
    return _build(model.DebitWallet, options, wallet_id=wallet_id, amount=amount, currency=currency)


def transfer(
    from_wallet_id: Id,
    to_wallet_id: Id,
    amount: AmountLike,
    currency: str | None = None,
    **options: Unpack[EventOptions],
) -> model.Transfer:
    """Move money from one wallet to another; `expected_version` is that of the first."""
    fields = {"from_wallet_id": from_wallet_id, "to_wallet_id": to_wallet_id}
    return _build(model.Transfer, options, **fields, amount=amount, currency=currency)


def place_hold(
    wallet_id: Id,
    hold_id: Id,
    amount: AmountLike,
    hold_type: HoldType | str | None = None,
    expires_at: datetime | None = None,
    **options: Unpack[EventOptions],
) -> model.PlaceHold:
    """Reserve money under a new `hold_id`: a `PAYMENT`, and until it is ended, unless said otherwise."""
    fields = {"wallet_id": wallet_id, "hold_id": hold_id, "hold_type": hold_type, "expires_at": expires_at}
    return _build(model.PlaceHold, options, **fields, amount=amount)


def release_hold(wallet_id: Id, hold_id: Id, **options: Unpack[EventOptions]) -> model.ReleaseHold:
    """Give reserved money free."""
    return _build(model.ReleaseHold, options, wallet_id=wallet_id, hold_id=hold_id)


def capture_hold(
    wallet_id: Id,
    hold_id: Id,
    amount: AmountLike | None = None,
    to_wallet_id: Id | None = None,
    **options: Unpack[EventOptions],
) -> model.CaptureHold:
    """Pay reserved money out, all of it unless `amount` says less, into `to_wallet_id` where that is given."""
    fields = {"wallet_id": wallet_id, "hold_id": hold_id, "to_wallet_id": to_wallet_id}
    return _build(model.CaptureHold, options, **fields, amount=amount)


def expire_hold(wallet_id: Id, hold_id: Id, **options: Unpack[EventOptions]) -> model.ExpireHold:
    """End a hold whose time is over. The worker does it by itself."""
    return _build(model.ExpireHold, options, wallet_id=wallet_id, hold_id=hold_id)


def suspend_wallet(wallet_id: Id, reason: str | None = None, **options: Unpack[EventOptions]) -> model.SuspendWallet:
    """Let no more money out, and place no hold."""
    return _build(model.SuspendWallet, options, wallet_id=wallet_id, reason=reason)


def reactivate_wallet(
    wallet_id: Id, reason: str | None = None, **options: Unpack[EventOptions]
) -> model.ReactivateWallet:
    """Lift a suspension."""
    return _build(model.ReactivateWallet, options, wallet_id=wallet_id, reason=reason)


def close_wallet(wallet_id: Id, **options: Unpack[EventOptions]) -> model.CloseWallet:
    """End a wallet that is empty, for good."""
    return _build(model.CloseWallet, options, wallet_id=wallet_id)


def update_metadata(wallet_id: Id, metadata: Metadata, **options: Unpack[VersionedOptions]) -> model.UpdateMetadata:
    """Merge `metadata` into the wallet's; a None in it removes the key."""
    return _build(model.UpdateMetadata, options, wallet_id=wallet_id, metadata=metadata)


def atomic(
    commands: Sequence[model.Single], *, metadata: Metadata | None = None, **options: Unpack[Options]
) -> model.Atomic:
    """Do all of `commands`, in order, or none. Their own ids are left out: the group has one, and one `not_after`."""
    if any(command.not_after is not None for command in commands):
        raise ValueError("Atomic: a part has no not_after of its own, expected it on the group")
    parts = [_fields(command, without={"command_id", "not_after"}) for command in commands]
    return _build(model.Atomic, options, commands=parts, metadata=metadata)


def _fields(command: model.CommandModel, without: set[str]) -> dict[str, Any]:
    """What was said in `command`, by the names of its attributes."""
    return command.model_dump(by_alias=False, exclude_unset=True, exclude=without)


def _build(of: type[_Model], options: Options, **fields: Any) -> _Model:
    """The command that `fields` and `options` make, without those that are None; an id is drawn if there is none."""
    for name in _AMOUNTS:
        if isinstance(fields.get(name), float):
            raise TypeError(
                f"{of.__name__}: {name} is the float {fields[name]!r}, and a binary float is not money: "
                'expected text such as "12.50", a Decimal or an int'
            )
    given = {"type": of.__name__, "command_id": uuid4(), **fields, **options}
    said = {name: str(value) if isinstance(value, UUID) else value for name, value in given.items()}
    try:
        return of.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(_explain(dict(problem)) for problem in error.errors(include_url=False))
    raise ValueError(f"{of.__name__}: {problems}")


def _explain(problem: dict[str, Any]) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}, got {repr(problem['input'])[:VALUE_SHOWN_MAX]}"

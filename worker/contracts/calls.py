"""The commands as Python calls: one method for each, the same for whoever offers them.

`WalletCalls` turns arguments into what is asked; what becomes of it is its subclass's business: the client publishes
it, the repository runs it beside the database, a transaction decides it at once, and `part` keeps it for a group:

    await wallets.atomic(part.debit(shop, "5"), part.place_hold(shop, hold, "3"))

Nothing is checked here but that money is no float: `command_of` and `part_of` read what is asked as strictly as a
command from Kafka is read. Pure; ids are UUIDs or their text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack
from uuid import UUID

from pydantic import Field, TypeAdapter

from worker.contracts.commands import COMMAND, Command, Part
from worker.contracts.status import HoldType

T_co = TypeVar("T_co", covariant=True)

Id = str | UUID
Money = str | Decimal | int
"""An amount: `"12.50"`, `Decimal("12.50")` or `12`."""

PART: TypeAdapter[Part] = TypeAdapter(Annotated[Part, Field(discriminator="type")])


class CommandOptions(TypedDict, total=False):
    """What every command may be given, all of it optional.

    `command_id` is the idempotency key: without one, a new one is drawn. `not_after`: decided later than this, it is
    refused. `reference` is the caller's own. A part of a group or of a transaction has no id and no deadline.
    """

    command_id: Id | None
    not_after: datetime | None
    reference: str | None


class Options(CommandOptions, total=False):
    """What commands about a wallet that is there may be given besides.

    `expected_version`: the wallet (of two, the first) must be at this version. `metadata` is the event's.
    """

    expected_version: int | None
    metadata: Mapping[str, Any] | None


class Asked(NamedTuple):
    """What is asked: the part's fields by their Python names, and what would make a command of it."""

    fields: dict[str, Any]
    command_id: str | None = None
    not_after: datetime | None = None


def command_of(asked: Asked, command_id: str) -> Command:
    """The command that `asked` is, under `command_id`; raises pydantic's `ValidationError`."""
    given = {**asked.fields, "command_id": command_id, "not_after": asked.not_after}
    return COMMAND.validate_python(given)


def part_of(asked: Asked) -> Part:
    """The part that `asked` is; raises pydantic's `ValidationError`, and `TypeError` where it has an id or deadline."""
    return PART.validate_python(part_fields(asked))


def part_fields(asked: Asked) -> dict[str, Any]:
    """The fields of a part; raises `TypeError` where it was given what only a command of its own has."""
    if asked.command_id is not None or asked.not_after is not None:
        raise TypeError("command_id and not_after belong to the group or the transaction, not to one of its parts")
    return asked.fields


class WalletCalls(ABC, Generic[T_co]):
    """One method for each command; `T_co` is what asking for it gives."""

    @abstractmethod
    def _ask(self, asked: Asked) -> T_co:
        """Do what the subclass does with what is asked."""

    def create_wallet(
        self,
        wallet_id: Id,
        owner_id: str,
        *,
        currency: str | None = None,
        initial_balance: Money = 0,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[CommandOptions],
    ) -> T_co:
        """Open a wallet, in `USD` where no currency is named; `metadata` is the wallet's, a None in it is dropped."""
        fields = {"wallet_id": wallet_id, "owner_id": owner_id, "currency": currency, "metadata": metadata}
        return self._ask(_asked("CreateWallet", {**fields, "initial_balance": _money(initial_balance)}, options))

    def credit(self, wallet_id: Id, amount: Money, *, currency: str | None = None, **options: Unpack[Options]) -> T_co:
        """Pay money in."""
        fields = {"wallet_id": wallet_id, "amount": _money(amount), "currency": currency}
        return self._ask(_asked("CreditWallet", fields, options))

    def debit(self, wallet_id: Id, amount: Money, *, currency: str | None = None, **options: Unpack[Options]) -> T_co:
        """Pay money out."""
        fields = {"wallet_id": wallet_id, "amount": _money(amount), "currency": currency}
        return self._ask(_asked("DebitWallet", fields, options))

    def transfer(
        self,
        from_wallet_id: Id,
        to_wallet_id: Id,
        amount: Money,
        *,
        currency: str | None = None,
        **options: Unpack[Options],
    ) -> T_co:
        """Move money from one wallet to another."""
        fields = {"from_wallet_id": from_wallet_id, "to_wallet_id": to_wallet_id, "currency": currency}
        return self._ask(_asked("Transfer", {**fields, "amount": _money(amount)}, options))

    def place_hold(
        self,
        wallet_id: Id,
        hold_id: Id,
        amount: Money,
        *,
        hold_type: HoldType | str = HoldType.PAYMENT,
        expires_at: datetime | None = None,
        **options: Unpack[Options],
    ) -> T_co:
        """Reserve money, until `expires_at` where one is given."""
        fields = {"wallet_id": wallet_id, "hold_id": hold_id, "hold_type": hold_type, "expires_at": expires_at}
        return self._ask(_asked("PlaceHold", {**fields, "amount": _money(amount)}, options))

    def release_hold(self, wallet_id: Id, hold_id: Id, **options: Unpack[Options]) -> T_co:
        """Give reserved money free."""
        return self._ask(_asked("ReleaseHold", {"wallet_id": wallet_id, "hold_id": hold_id}, options))

    def capture_hold(
        self,
        wallet_id: Id,
        hold_id: Id,
        amount: Money | None = None,
        *,
        to_wallet_id: Id | None = None,
        **options: Unpack[Options],
    ) -> T_co:
        """Pay reserved money out, all of it or `amount`, into `to_wallet_id` where one is given; the rest is free."""
        fields = {"wallet_id": wallet_id, "hold_id": hold_id, "to_wallet_id": to_wallet_id}
        return self._ask(_asked("CaptureHold", {**fields, "amount": _money(amount)}, options))

    def expire_hold(self, wallet_id: Id, hold_id: Id, **options: Unpack[Options]) -> T_co:
        """End a hold whose time is over. The worker does so by itself."""
        return self._ask(_asked("ExpireHold", {"wallet_id": wallet_id, "hold_id": hold_id}, options))

    def suspend_wallet(self, wallet_id: Id, *, reason: str | None = None, **options: Unpack[Options]) -> T_co:
        """Let no more money out, and place no hold."""
        return self._ask(_asked("SuspendWallet", {"wallet_id": wallet_id, "reason": reason}, options))

    def reactivate_wallet(self, wallet_id: Id, *, reason: str | None = None, **options: Unpack[Options]) -> T_co:
        """Lift a suspension."""
        return self._ask(_asked("ReactivateWallet", {"wallet_id": wallet_id, "reason": reason}, options))

    def close_wallet(self, wallet_id: Id, **options: Unpack[Options]) -> T_co:
        """End a wallet that is empty, for good."""
        return self._ask(_asked("CloseWallet", {"wallet_id": wallet_id}, options))

    def update_metadata(
        self,
        wallet_id: Id,
        metadata: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        **options: Unpack[CommandOptions],
    ) -> T_co:
        """Merge `metadata` into the wallet's, as a JSON merge patch; a None removes its key, at any depth."""
        fields = {"wallet_id": wallet_id, "metadata": metadata, "expected_version": expected_version}
        return self._ask(_asked("UpdateMetadata", fields, options))


class CommandCalls(WalletCalls[T_co]):
    """The methods of whoever takes whole commands: groups too."""

    def atomic(
        self, *parts: Asked, metadata: Mapping[str, Any] | None = None, **options: Unpack[CommandOptions]
    ) -> T_co:
        """Do all of `parts` (2 to 100, made with `part`), in order, or none; `metadata` is for parts without any."""
        fields = {"commands": [part_fields(asked) for asked in parts], "metadata": metadata}
        return self._ask(_asked("Atomic", fields, options))


class _Parts(WalletCalls[Asked]):
    """The same methods, for what is to become a part of a group."""

    def _ask(self, asked: Asked) -> Asked:
        return asked


part = _Parts()


def _asked(type_: str, fields: Mapping[str, Any], options: Mapping[str, Any]) -> Asked:
    given: dict[str, Any] = {**fields, **options}
    command_id, not_after = given.pop("command_id", None), given.pop("not_after", None)
    kept = {name: _plain(value) for name, value in given.items() if value is not None}
    return Asked({"type": type_, **kept}, None if command_id is None else str(command_id), not_after)


def _plain(value: Any) -> Any:
    """Ids as text and objects as dicts, which is what the models take."""
    if isinstance(value, UUID):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value


def _money(value: Money | None) -> Money | None:
    if isinstance(value, float):
        raise TypeError(f'an amount is text such as "12.50", a Decimal or an int, and never a float: {value!r}')
    return value

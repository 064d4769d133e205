"""The commands: what a sender may ask for, as pydantic models (contract, "Commands").

Reading is strict: an unknown field is refused, since a misspelt `expectedVersion` that is silently ignored would move
money that its sender meant to protect. A model is frozen and holds exactly what the sender asked, defaults filled in.

Each command comes twice: as a part (what is asked), which is what an `Atomic` is made of and what is decided, and as a
command (the part with an id and a deadline), which is what travels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from worker.contracts.fields import (
    Currency,
    Metadata,
    OwnerId,
    Reason,
    Reference,
    Time,
    Uuid,
    Version,
    null_is_left_out,
)
from worker.contracts.money import ZERO, Amount, InitialBalance
from worker.contracts.status import HoldType

PARTS_MIN = 2
PARTS_MAX = 100


class PartModel(BaseModel):
    """What everything that may be asked has in common."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    reference: Reference | None = Field(None, description="The caller's own reference.")
    metadata: Metadata | None = Field(
        None, description="Of the event; at most 8 KiB. A number that would come back as another one is refused."
    )


class CommandModel(PartModel):
    """What makes a command of it: an id, and perhaps a deadline."""

    command_id: Uuid = Field(description="The idempotency key.")
    not_after: Time | None = Field(
        None, description="Decided later than this, the command is refused with CommandExpired."
    )


class VersionedPart(PartModel):
    """Something asked of a wallet that is there, which may insist on that wallet's version."""

    expected_version: Version | None = Field(
        None, description="`walletId` or `fromWalletId` must be at this version at the command's turn."
    )


class CreateWalletPart(PartModel):
    """Open a wallet. `metadata` is the wallet's; a null in it is dropped."""

    type: Literal["CreateWallet"]
    wallet_id: Uuid
    owner_id: OwnerId
    currency: Annotated[Currency, BeforeValidator(null_is_left_out, json_schema_input_type=Currency | None)] = "USD"
    initial_balance: Annotated[InitialBalance, BeforeValidator(null_is_left_out)] = ZERO


class CreditWalletPart(VersionedPart):
    """Pay money in."""

    type: Literal["CreditWallet"]
    wallet_id: Uuid
    amount: Amount
    currency: Currency | None = Field(None, description="Missing: the wallet's.")


class DebitWalletPart(VersionedPart):
    """Pay money out."""

    type: Literal["DebitWallet"]
    wallet_id: Uuid
    amount: Amount
    currency: Currency | None = Field(None, description="Missing: the wallet's.")


class TransferPart(VersionedPart):
    """Move money from one wallet to another: a debit and a credit, together or not at all."""

    type: Literal["Transfer"]
    from_wallet_id: Uuid
    to_wallet_id: Uuid
    amount: Amount
    currency: Currency | None = Field(None, description="Missing: the wallet's.")


class PlaceHoldPart(VersionedPart):
    """Reserve money: it stays in the balance and is no longer available."""

    type: Literal["PlaceHold"]
    wallet_id: Uuid
    hold_id: Uuid
    amount: Amount
    hold_type: Annotated[HoldType, BeforeValidator(null_is_left_out, json_schema_input_type=HoldType | None)] = Field(
        HoldType.PAYMENT, strict=False
    )
    expires_at: Time | None = Field(None, description="Missing: the hold stays until it is released or captured.")


class ReleaseHoldPart(VersionedPart):
    """Give reserved money free."""

    type: Literal["ReleaseHold"]
    wallet_id: Uuid
    hold_id: Uuid


class CaptureHoldPart(VersionedPart):
    """Pay reserved money out; what is left of the hold is given free in the same step."""

    type: Literal["CaptureHold"]
    wallet_id: Uuid
    hold_id: Uuid
    amount: Amount | None = Field(None, description="Missing: all of the hold.")
    to_wallet_id: Uuid | None = Field(None, description="Pay the captured amount into this wallet.")


class ExpireHoldPart(VersionedPart):
    """End a hold whose time is over. The worker sends it by itself."""

    type: Literal["ExpireHold"]
    wallet_id: Uuid
    hold_id: Uuid


class SuspendWalletPart(VersionedPart):
    """Let no more money out, and place no hold."""

    type: Literal["SuspendWallet"]
    wallet_id: Uuid
    reason: Reason | None = None


class ReactivateWalletPart(VersionedPart):
    """Lift a suspension."""

    type: Literal["ReactivateWallet"]
    wallet_id: Uuid
    reason: Reason | None = None


class CloseWalletPart(VersionedPart):
    """End a wallet that is empty, for good."""

    type: Literal["CloseWallet"]
    wallet_id: Uuid


class UpdateMetadataPart(VersionedPart):
    """Merge `metadata` into the wallet's (JSON merge patch, RFC 7396): a null removes its key, at any depth."""

    type: Literal["UpdateMetadata"]
    wallet_id: Uuid
    metadata: Metadata


class CreateWallet(CreateWalletPart, CommandModel):
    """Open a wallet. `metadata` is the wallet's; a null in it is dropped."""


class CreditWallet(CreditWalletPart, CommandModel):
    """Pay money in."""


class DebitWallet(DebitWalletPart, CommandModel):
    """Pay money out."""


class Transfer(TransferPart, CommandModel):
    """Move money from one wallet to another: a debit and a credit, together or not at all."""


class PlaceHold(PlaceHoldPart, CommandModel):
    """Reserve money: it stays in the balance and is no longer available."""


class ReleaseHold(ReleaseHoldPart, CommandModel):
    """Give reserved money free."""


class CaptureHold(CaptureHoldPart, CommandModel):
    """Pay reserved money out; what is left of the hold is given free in the same step."""


class ExpireHold(ExpireHoldPart, CommandModel):
    """End a hold whose time is over. The worker sends it by itself."""


class SuspendWallet(SuspendWalletPart, CommandModel):
    """Let no more money out, and place no hold."""


class ReactivateWallet(ReactivateWalletPart, CommandModel):
    """Lift a suspension."""


class CloseWallet(CloseWalletPart, CommandModel):
    """End a wallet that is empty, for good."""


class UpdateMetadata(UpdateMetadataPart, CommandModel):
    """Merge `metadata` into the wallet's (JSON merge patch, RFC 7396): a null removes its key, at any depth."""


Part = (
    CreateWalletPart
    | CreditWalletPart
    | DebitWalletPart
    | TransferPart
    | PlaceHoldPart
    | ReleaseHoldPart
    | CaptureHoldPart
    | ExpireHoldPart
    | SuspendWalletPart
    | ReactivateWalletPart
    | CloseWalletPart
    | UpdateMetadataPart
)


class Atomic(CommandModel):
    """Do all of `commands`, in order, each seeing what the ones before did; or none of them."""

    type: Literal["Atomic"]
    commands: Annotated[
        list[Annotated[Part, Field(discriminator="type")]], Field(min_length=PARTS_MIN, max_length=PARTS_MAX)
    ]


# Everything that is decided by itself: all commands but the group of them.
Single = (
    CreateWallet
    | CreditWallet
    | DebitWallet
    | Transfer
    | PlaceHold
    | ReleaseHold
    | CaptureHold
    | ExpireHold
    | SuspendWallet
    | ReactivateWallet
    | CloseWallet
    | UpdateMetadata
)
Command = Single | Atomic

COMMAND_TYPES: tuple[type[CommandModel], ...] = (
    CreateWallet,
    CreditWallet,
    DebitWallet,
    Transfer,
    PlaceHold,
    ReleaseHold,
    CaptureHold,
    ExpireHold,
    SuspendWallet,
    ReactivateWallet,
    CloseWallet,
    UpdateMetadata,
    Atomic,
)
COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])

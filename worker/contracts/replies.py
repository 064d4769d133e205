"""The replies: the answer to each record on a command topic (contract, "Replies").

The models are the written contract: schemas and examples are made from them, and the tests hold every reply against
them. The worker itself writes replies without building models (`ledger/reply.py`): the same bytes, at a tenth of the
price.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from worker.contracts.fields import Uuid
from worker.contracts.money import Money
from worker.contracts.status import HoldStatus, WalletStatus
from worker.contracts.written import Written, is_none


class ErrorCode(StrEnum):
    """Why a command was rejected."""

    WALLET_NOT_FOUND = "WalletNotFound"
    WALLET_ALREADY_EXISTS = "WalletAlreadyExists"
    WALLET_NOT_ACTIVE = "WalletNotActive"
    WALLET_NOT_EMPTY = "WalletNotEmpty"
    INSUFFICIENT_FUNDS = "InsufficientFunds"
    INVALID_AMOUNT = "InvalidAmount"
    CURRENCY_MISMATCH = "CurrencyMismatch"
    SAME_WALLET = "SameWallet"
    HOLD_NOT_FOUND = "HoldNotFound"
    HOLD_ALREADY_EXISTS = "HoldAlreadyExists"
    HOLD_NOT_ACTIVE = "HoldNotActive"
    HOLD_EXPIRED = "HoldExpired"
    HOLD_NOT_DUE = "HoldNotDue"
    CAPTURE_EXCEEDS_HOLD = "CaptureExceedsHold"
    BALANCE_LIMIT_EXCEEDED = "BalanceLimitExceeded"
    METADATA_TOO_LARGE = "MetadataTooLarge"
    EVENT_CONCURRENCY = "EventConcurrency"
    COMMAND_EXPIRED = "CommandExpired"
    WALLET_QUARANTINED = "WalletQuarantined"
    IDEMPOTENCY_CONFLICT = "IdempotencyConflict"
    REPLY_TOPIC_NOT_ALLOWED = "ReplyTopicNotAllowed"
    INVALID_COMMAND = "InvalidCommand"
    INTERNAL_ERROR = "InternalError"


class WalletState(Written):
    """A wallet as it is after the command (or as it stands, where the command was rejected)."""

    wallet_id: Uuid
    version: int = Field(ge=0)
    status: WalletStatus
    currency: str
    balance: Money
    held_balance: Money
    available_balance: Money


class Error(Written):
    """Why not, with enough to act on."""

    code: ErrorCode
    message: str
    details: dict[str, Any]


class HoldState(Written):
    """The hold that a command named, as it is after the command."""

    hold_id: Uuid
    status: HoldStatus
    amount: Money
    captured_amount: Money
    expires_at: AwareDatetime | None


class PartReply(Written):
    """What became of a part of an `Atomic`. In a refused group an accepted part took no effect either."""

    index: int = Field(ge=0)
    type: str
    status: Literal["accepted", "rejected", "notRun"]
    error: Error | None = Field(None, exclude_if=is_none)
    hold: HoldState | None = Field(None, exclude_if=is_none)


class Reply(Written):
    """The one answer to a command. `commandId` is null where the record could not be read."""

    command_id: Uuid | None
    type: str | None
    status: Literal["accepted", "rejected"]
    processed_at: AwareDatetime
    error: Error | None = Field(None, exclude_if=is_none)
    wallets: list[WalletState]
    hold: HoldState | None = Field(None, exclude_if=is_none, description="With a hold command.")
    parts: list[PartReply] | None = Field(None, exclude_if=is_none, description="With an `Atomic`.")

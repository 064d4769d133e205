"""The decision: a command, the book as it stands and the time give facts, or a rejection.

Pure: no I/O, no clock, no ids of its own. Each check is an early return, in the contract's order of refusal ("Order of
refusal, first one wins"; the source before the target): CommandExpired; SameWallet; WalletNotFound,
WalletAlreadyExists; WalletQuarantined; EventConcurrency; WalletNotActive; CurrencyMismatch; HoldNotFound,
HoldAlreadyExists; HoldNotActive, HoldExpired, HoldNotDue; CaptureExceedsHold; InsufficientFunds, WalletNotEmpty;
BalanceLimitExceeded, MetadataTooLarge. What comes before these (unreadable, repeated) was settled before a command
gets here.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from worker.contracts.commands import (
    Command,
    CommandModel,
    Part,
    Single,
)
from worker.contracts.replies import ErrorCode
from worker.domain import rejections as no
from worker.domain.decide_holds import capture_hold, expire_hold, place_hold, release_hold
from worker.domain.decide_lifecycle import close_wallet, reactivate_wallet, suspend_wallet, update_metadata
from worker.domain.decide_money import Decision, create_wallet, credit_wallet, debit_wallet, transfer
from worker.domain.rejections import Rejected
from worker.domain.wallet import Book

BEFORE_QUARANTINED = frozenset({ErrorCode.SAME_WALLET, ErrorCode.WALLET_NOT_FOUND, ErrorCode.WALLET_ALREADY_EXISTS})
"""Reasons that come before it in the order of refusal."""


def decide(command: Single, book: Book, now: datetime) -> Decision:
    """What `command` does to `book` at `now`: the facts, in order, or why it is refused.

    `book` is as the commands before it left it.
    """
    return too_late(command, now) or decide_part(command, book, now)


def too_late(command: CommandModel, now: datetime) -> Rejected | None:
    """Why `command` must not be decided any more at `now`. At the very instant it may."""
    if command.not_after is not None and now > command.not_after:
        return no.command_expired(command.not_after, now)
    return None


def decide_part(part: Part, book: Book, now: datetime) -> Decision:
    """What `part`, a command or a part of a group, does to `book` at `now`."""
    decision = _decide(part, book, now)
    if not book.quarantined or (isinstance(decision, Rejected) and decision.code in BEFORE_QUARANTINED):
        return decision
    quarantined = [id_ for id_ in wallet_ids(part) if id_ in book.quarantined]
    return no.wallet_quarantined(quarantined[0], book.quarantined[quarantined[0]]) if quarantined else decision


def _decide(part: Part, book: Book, now: datetime) -> Decision:
    # By the text of the type: pydantic makes `isinstance` dear, and this runs for every command.
    if part.type == "Transfer":
        return transfer(part, book)
    if part.type == "CreditWallet":
        return credit_wallet(part, book)
    if part.type == "DebitWallet":
        return debit_wallet(part, book)
    if part.type == "PlaceHold":
        return place_hold(part, book, now)
    if part.type == "CaptureHold":
        return capture_hold(part, book, now)
    if part.type == "ReleaseHold":
        return release_hold(part, book, now)
    if part.type == "ExpireHold":
        return expire_hold(part, book, now)
    if part.type == "CreateWallet":
        return create_wallet(part, book)
    if part.type == "UpdateMetadata":
        return update_metadata(part, book)
    if part.type == "SuspendWallet":
        return suspend_wallet(part, book)
    if part.type == "ReactivateWallet":
        return reactivate_wallet(part, book)
    if part.type == "CloseWallet":
        return close_wallet(part, book)
    assert_never(part)


def wallet_ids(command: Command | Part) -> tuple[str, ...]:
    """The wallets that `command` names, the source before the target; each once."""
    if command.type == "Transfer":
        return _once(command.from_wallet_id, command.to_wallet_id)
    if command.type == "Atomic":
        return tuple(dict.fromkeys(id_ for part in command.commands for id_ in wallet_ids(part)))
    if command.type == "CaptureHold":
        return _once(command.wallet_id, command.to_wallet_id or command.wallet_id)
    return (command.wallet_id,)


def hold_ids(command: Command | Part) -> tuple[str, ...]:
    """The holds that `command` names."""
    if command.type == "Atomic":
        return tuple(id_ for part in command.commands for id_ in hold_ids(part))
    if command.type in ("PlaceHold", "ReleaseHold", "CaptureHold", "ExpireHold"):
        return (command.hold_id,)
    return ()


def _once(first: str, second: str) -> tuple[str, ...]:
    return (first,) if first == second else (first, second)

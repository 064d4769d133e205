"""The bytes of a reply: written once, stored, and repeated byte for byte (contract, "Replies")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from worker.contracts.money import format_money
from worker.contracts.replies import ErrorCode
from worker.contracts.times import format_time
from worker.domain.group import PartOutcome
from worker.domain.rejections import Rejected
from worker.domain.wallet import Hold, Wallet

ReplyStatus = Literal["accepted", "rejected"]

ACCEPTED: ReplyStatus = "accepted"
REJECTED: ReplyStatus = "rejected"
NOT_RUN = "notRun"

INTERNAL_ERROR = Rejected(
    ErrorCode.INTERNAL_ERROR,
    "The command failed for an unexpected reason and took no effect. It is kept as a dead letter.",
    {},
)


class Said(NamedTuple):
    """What a reply says besides the outcome: the wallets as they are, the hold, and a group's parts."""

    wallets: Sequence[Wallet] = ()
    hold: Hold | None = None
    parts: Sequence[PartOutcome] = ()


NOTHING = Said()


def accepted_reply(command_id: str, command_type: str, processed_at: str, said: Said) -> bytes:
    """The reply to a command that took effect; `said` is as it left things."""
    reply = _begin(command_id, command_type, ACCEPTED, processed_at)
    return orjson.dumps(_end(reply, said))


def rejected_reply(
    command_id: str | None, command_type: str | None, processed_at: str, rejected: Rejected, said: Said = NOTHING
) -> bytes:
    """The reply to a command that did not; `said` are the things it named that exist, as they are.

    `command_id` and `command_type` are None where the record could not be read.
    """
    reply = _begin(command_id, command_type, REJECTED, processed_at)
    reply["error"] = _error(rejected)
    return orjson.dumps(_end(reply, said))


def _begin(command_id: str | None, command_type: str | None, status: ReplyStatus, processed_at: str) -> dict[str, Any]:
    return {"commandId": command_id, "type": command_type, "status": status, "processedAt": processed_at}


def _end(reply: dict[str, Any], said: Said) -> dict[str, Any]:
    reply["wallets"] = [_wallet_state(wallet) for wallet in said.wallets]
    if said.hold is not None:
        reply["hold"] = _hold_state(said.hold)
    if said.parts:
        reply["parts"] = [part_state(index, outcome) for index, outcome in enumerate(said.parts)]
    return reply


def _error(rejected: Rejected) -> dict[str, Any]:
    return {"code": rejected.code, "message": rejected.message, "details": dict(rejected.details)}


def part_state(index: int, outcome: PartOutcome) -> dict[str, Any]:
    """What a reply says of part number `index` of a group."""
    status = NOT_RUN if not outcome.ran else ACCEPTED if outcome.rejected is None else REJECTED
    part: dict[str, Any] = {"index": index, "type": outcome.part.type, "status": status}
    if outcome.rejected is not None:
        part["error"] = _error(outcome.rejected)
    if outcome.hold is not None:
        part["hold"] = _hold_state(outcome.hold)
    return part


def _hold_state(hold: Hold) -> dict[str, Any]:
    return {
        "holdId": hold.id,
        "status": hold.status,
        "amount": format_money(hold.amount),
        "capturedAmount": format_money(hold.captured_amount),
        "expiresAt": None if hold.expires_at is None else format_time(hold.expires_at),
    }


def _wallet_state(wallet: Wallet) -> dict[str, Any]:
    return {
        "walletId": wallet.id,
        "version": wallet.version,
        "status": wallet.status,
        "currency": wallet.currency,
        "balance": format_money(wallet.balance),
        "heldBalance": format_money(wallet.held_balance),
        "availableBalance": format_money(wallet.available_balance),
    }

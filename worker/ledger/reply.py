"""The bytes of a reply: written once, stored, and repeated byte for byte (contract, "Replies")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson

from worker.contracts.money import format_money
from worker.contracts.replies import ErrorCode
from worker.domain.rejections import Rejected
from worker.domain.wallet import Wallet

ReplyStatus = Literal["accepted", "rejected"]

ACCEPTED: ReplyStatus = "accepted"
REJECTED: ReplyStatus = "rejected"

INTERNAL_ERROR = Rejected(
    ErrorCode.INTERNAL_ERROR,
    "The command failed for an unexpected reason and took no effect. It is kept as a dead letter.",
    {},
)


def accepted_reply(command_id: str, command_type: str, processed_at: str, wallets: Iterable[Wallet]) -> bytes:
    """The reply to a command that took effect; `wallets` are as it left them."""
    return orjson.dumps(
        {
            "commandId": command_id,
            "type": command_type,
            "status": ACCEPTED,
            "processedAt": processed_at,
            "wallets": [_wallet_state(wallet) for wallet in wallets],
        }
    )


def rejected_reply(
    command_id: str | None,
    command_type: str | None,
    processed_at: str,
    rejected: Rejected,
    wallets: Iterable[Wallet] = (),
) -> bytes:
    """The reply to a command that did not; `wallets` are those it named that exist, as they are.

    `command_id` and `command_type` are None where the record could not be read.
    """
    return orjson.dumps(
        {
            "commandId": command_id,
            "type": command_type,
            "status": REJECTED,
            "processedAt": processed_at,
            "error": _error(rejected.code, rejected.message, rejected.details),
            "wallets": [_wallet_state(wallet) for wallet in wallets],
        }
    )


def _error(code: str, message: str, details: Mapping[str, str | int]) -> dict[str, Any]:
    return {"code": code, "message": message, "details": dict(details)}


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

"""The examples of the reply: the contract's two, and the answer to what could not be read."""

from __future__ import annotations

from typing import Any

from worker.contracts.schemas.examples.commands import DEBIT, OTHER_WALLET, TRANSFER, WALLET
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid, but, without

_SOURCE = {
    "walletId": WALLET,
    "version": 7,
    "status": "ACTIVE",
    "currency": "USD",
    "balance": "87.5000",
    "heldBalance": "0.0000",
    "availableBalance": "87.5000",
}
_TARGET = but(_SOURCE, walletId=OTHER_WALLET, version=3, balance="12.5000", availableBalance="12.5000")
_POOR = but(_SOURCE, version=8, balance="3.0000", availableBalance="3.0000")

ACCEPTED = {
    "commandId": TRANSFER["commandId"],
    "type": "Transfer",
    "status": "accepted",
    "processedAt": "2026-11-22T12:00:00.000000Z",
    "wallets": [_SOURCE, _TARGET],
}
REJECTED = {
    "commandId": DEBIT["commandId"],
    "type": "DebitWallet",
    "status": "rejected",
    "processedAt": "2026-11-22T12:00:02.000000Z",
    "error": {
        "code": "InsufficientFunds",
        "message": "The available balance is less than the amount.",
        "details": {"walletId": WALLET, "available": "3.0000", "held": "0.0000", "requested": "5.0000"},
    },
    "wallets": [_POOR],
}
UNREADABLE: dict[str, Any] = {
    "commandId": None,
    "type": None,
    "status": "rejected",
    "processedAt": "2026-11-22T12:00:03.120000Z",
    "error": {"code": "InvalidCommand", "message": "The record is not JSON.", "details": {}},
    "wallets": [],
}

REPLY_EXAMPLES: tuple[Example, ...] = (
    Valid("accepted", "A transfer took effect: both wallets as it left them.", ACCEPTED),
    Valid("rejected", "A debit did not: why, and the wallet as it is.", REJECTED),
    Valid("unreadable", "A record without a readable commandId.", UNREADABLE),
    Invalid(
        "unknown-status", "A reply is accepted or rejected.", but(ACCEPTED, status="ok"), "status", "literal_error"
    ),
    Invalid(
        "unknown-code",
        "The codes are the contract's.",
        but(REJECTED, error={"code": "NoMoney", "message": "No.", "details": {}}),
        "error.code",
        "enum",
    ),
    Invalid(
        "without-command-id",
        "Null, where there was none; never missing.",
        without(ACCEPTED, "commandId"),
        "commandId",
        "missing",
    ),
)

"""Examples of the reply: the contract's two, those to holds and groups, and the answer to what could not be read."""

from __future__ import annotations

from typing import Any

from worker.contracts.schemas.examples.commands_groups import ATOMIC
from worker.contracts.schemas.examples.commands_holds import CAPTURE
from worker.contracts.schemas.examples.commands_money import DEBIT, TRANSFER
from worker.contracts.schemas.examples.ids import HOLD, OTHER_WALLET, WALLET
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
_SHORT_DETAILS = {"walletId": WALLET, "available": "3.0000", "held": "0.0000", "requested": "5.0000"}
_SHORT = {
    "code": "InsufficientFunds",
    "message": "The available balance is less than the amount.",
    "details": _SHORT_DETAILS,
}

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
    "error": _SHORT,
    "wallets": [_POOR],
}
_HOLD = {
    "holdId": HOLD,
    "status": "ACTIVE",
    "amount": "30.0000",
    "capturedAmount": "0.0000",
    "expiresAt": "2026-11-29T12:00:00.000000Z",
}
_HELD = but(_SOURCE, heldBalance="30.0000", availableBalance="57.5000")
CAPTURED = but(
    ACCEPTED,
    commandId=CAPTURE["commandId"],
    type="CaptureHold",
    wallets=[_SOURCE],
    hold=but(_HOLD, status="CAPTURED", capturedAmount="12.5000"),
)
GROUP_ACCEPTED = but(
    ACCEPTED,
    commandId=ATOMIC["commandId"],
    type="Atomic",
    wallets=[_HELD],
    parts=[
        {"index": 0, "type": "DebitWallet", "status": "accepted"},
        {"index": 1, "type": "PlaceHold", "status": "accepted", "hold": but(_HOLD, expiresAt=None)},
    ],
)
GROUP_REJECTED = but(
    REJECTED,
    commandId=ATOMIC["commandId"],
    type="Atomic",
    error=but(_SHORT, details=but(_SHORT_DETAILS, index=0)),
    parts=[
        {"index": 0, "type": "DebitWallet", "status": "rejected", "error": _SHORT},
        {"index": 1, "type": "PlaceHold", "status": "notRun"},
    ],
)
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
    Valid("hold", "A part of a hold was captured: the hold as it is now.", CAPTURED),
    Valid("group-accepted", "All parts took effect, each with its hold.", GROUP_ACCEPTED),
    Valid("group-rejected", "The first part refused, so nothing happened; the error says which.", GROUP_REJECTED),
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
        "unknown-part-status",
        "A part is accepted, rejected, or not run.",
        but(GROUP_ACCEPTED, parts=[{"index": 0, "type": "DebitWallet", "status": "skipped"}]),
        "parts.0.status",
        "literal_error",
    ),
    Invalid(
        "without-command-id",
        "Null, where there was none; never missing.",
        without(ACCEPTED, "commandId"),
        "commandId",
        "missing",
    ),
)

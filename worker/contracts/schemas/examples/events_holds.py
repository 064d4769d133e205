"""Examples of the events of holds: each carries the whole hold as it is after it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.commands_groups import ATOMIC
from worker.contracts.schemas.examples.commands_holds import CAPTURE
from worker.contracts.schemas.examples.events_money import CREDITED
from worker.contracts.schemas.examples.ids import HOLD, OTHER_WALLET
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid, but, without

_PLACED_AT = "2026-11-22T12:00:02.000000Z"
_ENDED_AT = "2026-11-22T12:00:03.000000Z"
ACTIVE_HOLD = {
    "holdId": HOLD,
    "status": "ACTIVE",
    "type": "AUTHORIZATION",
    "amount": "30.0000",
    "capturedAmount": "0.0000",
    "reference": "order-4711",
    "metadata": {"terminal": 12},
    "expiresAt": "2026-11-29T12:00:00.000000Z",
    "createdAt": _PLACED_AT,
    "updatedAt": _PLACED_AT,
}
PLACED = but(
    CREDITED,
    version=2,
    occurredAt=_PLACED_AT,
    amount="30.0000",
    hold=ACTIVE_HOLD,
    reference="order-4711",
    metadata={"terminal": 12},
    heldBalance="30.0000",
)
RELEASED = but(
    CREDITED,
    version=3,
    occurredAt=_ENDED_AT,
    amount="30.0000",
    hold=but(ACTIVE_HOLD, status="RELEASED", releasedAt=_ENDED_AT, updatedAt=_ENDED_AT),
)
CAPTURED = but(
    CREDITED,
    version=3,
    occurredAt=_ENDED_AT,
    amount="12.5000",
    hold=but(ACTIVE_HOLD, status="CAPTURED", capturedAmount="12.5000", capturedAt=_ENDED_AT, updatedAt=_ENDED_AT),
    balance="87.5000",
)
EXPIRED = but(RELEASED, hold=but(ACTIVE_HOLD, status="EXPIRED", updatedAt=_ENDED_AT))

HOLD_EVENT_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "HoldPlaced": (
        Valid("placed", "The money stays in the balance and is held.", PLACED),
        Valid("in-group", "Placed by a part of a group.", but(PLACED, groupId=ATOMIC["commandId"])),
        Invalid("without-hold", "The whole hold is there.", without(PLACED, "hold"), "hold", "missing"),
        Invalid(
            "unknown-status",
            "A hold has one of four states.",
            but(PLACED, hold=but(ACTIVE_HOLD, status="PENDING")),
            "hold.status",
            "enum",
        ),
    ),
    "HoldReleased": (
        Valid("released", "All of the hold is available again.", RELEASED),
        Invalid("without-amount", "A release says how much.", without(RELEASED, "amount"), "amount", "missing"),
    ),
    "HoldCaptured": (
        Valid("part", "A part is paid out; the rest is available again by the same event.", CAPTURED),
        Valid(
            "into-wallet",
            "What was captured stands as a credit in the other wallet's stream.",
            but(CAPTURED, counterpartyWalletId=OTHER_WALLET, transferId=CAPTURE["commandId"]),
        ),
        Invalid(
            "without-captured-amount",
            "A hold says what of it was paid out.",
            but(CAPTURED, hold=without(CAPTURED["hold"], "capturedAmount")),
            "hold.capturedAmount",
            "missing",
        ),
    ),
    "HoldExpired": (
        Valid("expired", "The time was over: all of the hold is available again.", EXPIRED),
        Invalid(
            "counterparty",
            "Nobody is paid by an expiry.",
            but(EXPIRED, counterpartyWalletId=OTHER_WALLET),
            "counterpartyWalletId",
            "extra_forbidden",
        ),
    ),
}

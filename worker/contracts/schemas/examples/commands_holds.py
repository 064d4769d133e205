"""Examples of the commands that reserve money, and say what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.schemas.examples.ids import HOLD, OTHER_WALLET, WALLET
from worker.contracts.schemas.examples.kinds import Example, Valid, but, invalid_command, without

PLACE = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c05",
    "type": "PlaceHold",
    "walletId": WALLET,
    "holdId": HOLD,
    "amount": "30.0000",
}
RELEASE = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c06",
    "type": "ReleaseHold",
    "walletId": WALLET,
    "holdId": HOLD,
}
CAPTURE = but(RELEASE, commandId="5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c07", type="CaptureHold")
EXPIRE = but(RELEASE, commandId="5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c08", type="ExpireHold")

_PLACE_HOLD = (
    Valid("least", "What must be said: a payment, reserved until it is released or captured.", PLACE),
    Valid(
        "with-end",
        "An authorization that expires by itself; reference and metadata are the hold's.",
        but(
            PLACE,
            holdType="AUTHORIZATION",
            expiresAt="2026-11-29T12:00:00Z",
            reference="order-4711",
            metadata={"terminal": 12},
        ),
    ),
    invalid_command("without-hold-id", "The sender names the hold.", without(PLACE, "holdId"), "holdId", "missing"),
    invalid_command("zero", "Nothing cannot be reserved.", but(PLACE, amount="0"), "amount", INVALID_AMOUNT),
    invalid_command(
        "unknown-type", "A hold has one of five types.", but(PLACE, holdType="DEPOSIT"), "holdType", "enum"
    ),
    invalid_command(
        "date-alone",
        "A day is not a moment.",
        but(PLACE, expiresAt="2026-11-29"),
        "expiresAt",
        "time",
        by_schema=False,
    ),
)

_RELEASE_HOLD = (
    Valid("least", "All of the hold is given free.", RELEASE),
    invalid_command(
        "amount",
        "A hold is released as a whole.",
        but(RELEASE, amount="5.0000"),
        "amount",
        "extra_forbidden",
    ),
)

_CAPTURE_HOLD = (
    Valid("all", "All of the hold is paid out.", CAPTURE),
    Valid("part", "A part is paid out, the rest is given free.", but(CAPTURE, amount="12.5000")),
    Valid("into-wallet", "What is captured is paid into another wallet.", but(CAPTURE, toWalletId=OTHER_WALLET)),
    invalid_command("zero", "To pay nothing, release the hold.", but(CAPTURE, amount="0"), "amount", INVALID_AMOUNT),
    invalid_command(
        "currency",
        "A hold has its wallet's currency.",
        but(CAPTURE, currency="USD"),
        "currency",
        "extra_forbidden",
    ),
)

_EXPIRE_HOLD = (
    Valid("least", "The worker sends it by itself once the time is over.", EXPIRE),
    invalid_command(
        "without-wallet", "A hold is found in its wallet.", without(EXPIRE, "walletId"), "walletId", "missing"
    ),
)

HOLD_COMMAND_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "PlaceHold": _PLACE_HOLD,
    "ReleaseHold": _RELEASE_HOLD,
    "CaptureHold": _CAPTURE_HOLD,
    "ExpireHold": _EXPIRE_HOLD,
}

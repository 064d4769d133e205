"""The states of a wallet and of a hold, and the kinds of holds, as they are stored and as they travel (the seed's)."""

from __future__ import annotations

from enum import StrEnum


class WalletStatus(StrEnum):
    """What a wallet takes: everything, only what moves no money out, nothing."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    CLOSED = "CLOSED"


class HoldStatus(StrEnum):
    """What became of a hold. Only an active one reserves money; the others are its three ends."""

    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    CAPTURED = "CAPTURED"


class HoldType(StrEnum):
    """What a hold is for. It changes nothing about how a hold works."""

    PAYMENT = "PAYMENT"
    AUTHORIZATION = "AUTHORIZATION"
    REFUND = "REFUND"
    ESCROW = "ESCROW"
    OTHER = "OTHER"

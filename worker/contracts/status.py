"""The states of a wallet, as they are stored and as they travel (the seed's)."""

from __future__ import annotations

from enum import StrEnum


class WalletStatus(StrEnum):
    """What a wallet takes: everything, only what moves no money out, nothing."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    CLOSED = "CLOSED"

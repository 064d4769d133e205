"""Examples of the events about a wallet itself: suspended, reactivated, closed, described."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.events_money import CREDITED
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid, but, without

_STATE = but(without(CREDITED, "amount"), version=9, occurredAt="2026-11-22T12:00:04.000000Z")
SUSPENDED = but(_STATE, reason="chargeback under review", status="SUSPENDED")
REACTIVATED = but(_STATE, version=10)
CLOSED = but(_STATE, version=11, status="CLOSED", balance="0.0000")
METADATA_UPDATED = but(_STATE, walletMetadata={"plan": "private"})

LIFECYCLE_EVENT_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "WalletSuspended": (
        Valid("with-reason", "The status after it, and why.", SUSPENDED),
        Invalid("amount", "No money moves by it.", but(SUSPENDED, amount="1.0000"), "amount", "extra_forbidden"),
    ),
    "WalletReactivated": (
        Valid("without-reason", "No reason was given: none stands here.", REACTIVATED),
        Invalid(
            "without-status", "Every event carries the state.", without(REACTIVATED, "status"), "status", "missing"
        ),
    ),
    "WalletClosed": (
        Valid("closed", "The last event of a stream.", CLOSED),
        Invalid("reason", "A closing has no reason.", but(CLOSED, reason="moved"), "reason", "extra_forbidden"),
    ),
    "WalletMetadataUpdated": (
        Valid("updated", "All of the metadata as it is after merging.", METADATA_UPDATED),
        Invalid(
            "without-wallet-metadata",
            "What it is about is there.",
            without(METADATA_UPDATED, "walletMetadata"),
            "walletMetadata",
            "missing",
        ),
    ),
}

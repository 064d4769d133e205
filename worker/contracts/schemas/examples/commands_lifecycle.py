"""Examples of the commands about a wallet itself: suspended, reactivated, closed, described."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.ids import WALLET
from worker.contracts.schemas.examples.kinds import Example, Valid, but, invalid_command, without

SUSPEND = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c09",
    "type": "SuspendWallet",
    "walletId": WALLET,
}
REACTIVATE = but(SUSPEND, commandId="5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c0a", type="ReactivateWallet")
CLOSE = but(SUSPEND, commandId="5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c0b", type="CloseWallet")
UPDATE_METADATA = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c0c",
    "type": "UpdateMetadata",
    "walletId": WALLET,
    "metadata": {"plan": "business"},
}

LIFECYCLE_COMMAND_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "SuspendWallet": (
        Valid("least", "Accepted also where the wallet is suspended already.", SUSPEND),
        Valid("with-reason", "The reason stands in the event.", but(SUSPEND, reason="chargeback under review")),
        invalid_command(
            "long-reason",
            "A reason has at most 255 characters.",
            but(SUSPEND, reason="x" * 256),
            "reason",
            "string_too_long",
        ),
    ),
    "ReactivateWallet": (
        Valid("guarded", "Only if nothing happened since the suspension.", but(REACTIVATE, expectedVersion=9)),
        invalid_command(
            "without-wallet", "One wallet is reactivated.", without(REACTIVATE, "walletId"), "walletId", "missing"
        ),
    ),
    "CloseWallet": (
        Valid("least", "Only an empty wallet can be closed.", CLOSE),
        invalid_command(
            "reason", "An end has no reason here.", but(CLOSE, reason="moved"), "reason", "extra_forbidden"
        ),
    ),
    "UpdateMetadata": (
        Valid("merged", "The key is set, all others stay.", UPDATE_METADATA),
        Valid("removed", "A null value removes the key.", but(UPDATE_METADATA, metadata={"plan": None})),
        Valid(
            "removed-inside",
            "Objects are merged in their turn: the key in it is removed, all others stay.",
            but(UPDATE_METADATA, metadata={"address": {"street": None}}),
        ),
        invalid_command(
            "without-metadata",
            "Something must be said.",
            without(UPDATE_METADATA, "metadata"),
            "metadata",
            "missing",
        ),
        invalid_command(
            "list", "Metadata is an object.", but(UPDATE_METADATA, metadata=["plan"]), "metadata", "dict_type"
        ),
    ),
}

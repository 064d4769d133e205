"""Examples of what the scheduler says."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid, but

EXPIRE_DUE_HOLDS = {"type": "ExpireDueHolds"}

TICK_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "ExpireDueHolds": (
        Valid("least", "Sent without a lease, or by hand.", EXPIRE_DUE_HOLDS),
        Valid("under-lease", "As the scheduler that holds the lease sends it.", but(EXPIRE_DUE_HOLDS, leaseNumber=7)),
        Invalid("unknown-type", "No such tick: it is skipped.", {"type": "ExpireHolds"}, "type", "literal_error"),
        Invalid(
            "lease-number-as-text",
            "A number is a number.",
            but(EXPIRE_DUE_HOLDS, leaseNumber="7"),
            "leaseNumber",
            "int_type",
        ),
    ),
}

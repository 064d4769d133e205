"""The ticks on the schedule topic: what the scheduler says, each second, to whichever worker hears it.

A tick carries no fact, only the moment to look: lost, repeated, late or out of order, it does no harm.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from worker.contracts.written import Written, is_none


class ExpireDueHolds(Written):
    """Look for holds whose time is over, and publish an `ExpireHold` for each."""

    # It is read as well, by workers that other programs may send ticks to.
    model_config = ConfigDict(strict=True)

    type: Literal["ExpireDueHolds"]
    lease_number: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="The scheduler's lease, a number that grows with each change of hands. For whoever reads ticks: "
        "none is refused because of it. Missing: sent without a lease.",
        exclude_if=is_none,
    )


def read_tick(value: bytes | None) -> ExpireDueHolds:
    """Read a record of the schedule topic; raises pydantic's `ValidationError` (a `ValueError`) where it is no tick."""
    return ExpireDueHolds.model_validate_json(value or b"", by_alias=True, by_name=False)

"""The examples of each message, good and bad, by the message's name.

They stand in `schemas/examples/`, and the good ones in `asyncapi.yaml` too. The tests hold each against its schema and
its model. Every message needs at least one of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.commands_groups import GROUP_COMMAND_EXAMPLES
from worker.contracts.schemas.examples.commands_holds import HOLD_COMMAND_EXAMPLES
from worker.contracts.schemas.examples.commands_lifecycle import LIFECYCLE_COMMAND_EXAMPLES
from worker.contracts.schemas.examples.commands_money import MONEY_COMMAND_EXAMPLES
from worker.contracts.schemas.examples.events_holds import HOLD_EVENT_EXAMPLES
from worker.contracts.schemas.examples.events_lifecycle import LIFECYCLE_EVENT_EXAMPLES
from worker.contracts.schemas.examples.events_money import MONEY_EVENT_EXAMPLES
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid
from worker.contracts.schemas.examples.replies import REPLY_EXAMPLES
from worker.contracts.schemas.examples.ticks import TICK_EXAMPLES

__all__ = ["EXAMPLES", "Example", "Invalid", "Valid"]

EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    **MONEY_COMMAND_EXAMPLES,
    **HOLD_COMMAND_EXAMPLES,
    **LIFECYCLE_COMMAND_EXAMPLES,
    **GROUP_COMMAND_EXAMPLES,
    **MONEY_EVENT_EXAMPLES,
    **HOLD_EVENT_EXAMPLES,
    **LIFECYCLE_EVENT_EXAMPLES,
    "Reply": REPLY_EXAMPLES,
    **TICK_EXAMPLES,
}

"""The examples of each message, good and bad, by the message's name.

They stand in `schemas/examples/`, and the good ones in `asyncapi.yaml` too. The tests hold each against its schema and
its model. Every message needs at least one of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.commands import COMMAND_EXAMPLES
from worker.contracts.schemas.examples.events import EVENT_EXAMPLES
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid
from worker.contracts.schemas.examples.replies import REPLY_EXAMPLES

__all__ = ["EXAMPLES", "Example", "Invalid", "Valid"]

EXAMPLES: Mapping[str, tuple[Example, ...]] = {**COMMAND_EXAMPLES, **EVENT_EXAMPLES, "Reply": REPLY_EXAMPLES}

"""A record to publish, and one attempt at publishing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

RECORDS_MAX = 1_000_000
"""More than a batch of any size holds: no bound of our own."""


class Message(NamedTuple):
    """A record to publish. Only a reply may be redirected to the default reply topic.

    `time_ms` is the record's time where the broker refuses that of this process's clock; None: there is none.
    `partition` is the one that its sender asked for, used where the topic has it; else the key decides.
    `shorten` makes a smaller record of one that is too large for its topic, None where there is none.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    is_reply: bool = True
    time_ms: int | None = None
    shorten: Callable[[Message], Message | None] | None = None
    partition: int | None = None


@dataclass(slots=True, eq=False)
class Try:
    """An attempt to publish `message`, which stands at `place` among those of the caller.

    `together_max` bounds how many records its batch may hold, `together` says how many there were. With `own_time` it
    goes out under the message's own time. Afterwards it is `acknowledged`, or has an `error`, or neither: not known.
    """

    place: int
    message: Message
    may_be_redirected: bool
    own_time: bool = False
    together_max: int = RECORDS_MAX
    together: int = 0
    acknowledged: bool = False
    error: BaseException | None = None

    @property
    def timestamp_ms(self) -> int | None:
        """The record's time; None: the process's clock."""
        return self.message.time_ms if self.own_time else None

"""How far the projection is: for `/metrics`, and for whoever must know that it has seen everything.

What an index holds is what its own checkpoint says, so that another process can ask too. A checkpoint is always the
position of a wallet's event: "everything" is compared with the last such event, not with the end of `$all`, where the
server's own events follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from elasticsearch import AsyncElasticsearch

from worker.errors import Unavailable
from worker.projection.document import Event
from worker.projection.follow import EventLog
from worker.projection.index import PROJECTIONS, Projection, find_index, lowest_checkpoint
from worker.projection.subscription import Subscription

POLL_S = 0.1


class Lag:
    """How old the oldest event is that is not written yet; while that can't be known, since when."""

    def __init__(self) -> None:
        self._subscription: Subscription | None = None
        self._is_writing = False
        self._since = datetime.now(UTC)

    def seconds(self) -> float:
        """The lag now; 0 where nothing is missing."""
        return 0.0 if self.is_nothing_missing() else max(0.0, (datetime.now(UTC) - self._since).total_seconds())

    def follow(self, subscription: Subscription | None) -> None:
        """From now on the events come from `subscription`; None: it was lost."""
        if self.is_nothing_missing():
            self._since = datetime.now(UTC)
        self._subscription = subscription
        self._is_writing = False

    def begin(self, events: list[Event]) -> None:
        """`events` are about to be written."""
        self._is_writing = True
        self._since = _occurred_at(events[0]) if events else self._since

    def finish(self, events: list[Event]) -> None:
        """`events` are written."""
        self._is_writing = False
        self._since = _occurred_at(events[-1]) if events else self._since

    def is_nothing_missing(self) -> bool:
        """Whether everything that KurrentDB has is written."""
        return self._subscription is not None and self._subscription.is_idle and not self._is_writing


def _occurred_at(event: Event) -> datetime:
    return datetime.fromisoformat(event.data["occurredAt"])


async def read_checkpoint(client: AsyncElasticsearch, projections: Sequence[Projection] = PROJECTIONS) -> int | None:
    """The commit position up to which *every* index holds all documents; None where one holds none yet.

    An event's documents are there for a `get` then; a search sees them after the next refresh.
    """
    indices = [await find_index(client, projection) for projection in projections]
    return None if None in indices else lowest_checkpoint([index for index in indices if index])


async def last_position(kurrentdb_uri: str) -> int | None:
    """The commit position of the newest wallet event in KurrentDB; None where there is none."""
    async with EventLog.connect(kurrentdb_uri) as events:
        last = await events.last_event()
    return last.commit_position if last else None


async def caught_up(
    client: AsyncElasticsearch,
    kurrentdb_uri: str,
    *,
    timeout_s: float,
    projections: Sequence[Projection] = PROJECTIONS,
) -> bool:
    """Wait until the indices hold all that KurrentDB has at the time of the call; False if `timeout_s` runs out.

    An Elasticsearch that is away counts as not there yet; a KurrentDB that is away is raised as `Unavailable`.
    """
    target = await last_position(kurrentdb_uri)
    if target is None:
        return True
    try:
        async with asyncio.timeout(timeout_s):
            # The other side is another process: there is nothing to be woken by.
            while not await _reaches(client, projections, target):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


async def _reaches(client: AsyncElasticsearch, projections: Sequence[Projection], target: int) -> bool:
    try:
        checkpoint = await read_checkpoint(client, projections)
    except Unavailable:
        return False
    return checkpoint is not None and checkpoint >= target

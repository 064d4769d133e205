"""The read model made anew from the start of the log, beside the one that serves, and put in its place in one call.

Searches never fail nor see less than before: the aliases are switched once the new indices hold all that the old ones
hold, which take no more documents for that last moment. A projector that runs meanwhile waits for that moment and goes
on in the new indices, from their own checkpoints. May be killed at any time and begun again: what it left is taken away
by the next one. Of two at once the one that began later goes on, the other one ends with `Overtaken`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from elasticsearch import AsyncElasticsearch

from worker.errors import Fatal, Unavailable
from worker.projection.backoff import to_the_end
from worker.projection.bulk import write_checkpoints
from worker.projection.comparison import Comparison, compare, frozen
from worker.projection.document import Event, RecordedEvent, apply
from worker.projection.elastic import IndexLost, elasticsearch_errors
from worker.projection.follow import EventLog
from worker.projection.generation import (
    abandon,
    allow_writes,
    begin_generation,
    block_writes,
    delete_unused,
    is_under_construction,
    open_built,
    serve_as_usual,
    switch_aliases,
    under_construction,
    why_lost,
)
from worker.projection.index import PROJECTIONS, Checkpoint, Index, Projection, find_index, open_index
from worker.projection.projector import Projector, unchecked
from worker.telemetry.metrics import ProjectorMetrics, new_registry

POLL_S = 0.02

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and of how much (an estimate: the log grows meanwhile)."""
FOLLOWING, COMPARING = "events", "documents compared"

log = structlog.get_logger(__name__)


class Incomplete(Fatal):
    """The new indices do not hold the documents that their events make: nothing was switched."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What stands behind an alias now, and what stood there before; `documents` are those of the new index."""

    alias: str
    old: str
    new: str
    documents: int
    comparison: Comparison

    @property
    def added(self) -> int:
        """How many documents the old index did not have when they were compared."""
        return self.documents - self.comparison.documents + self.comparison.gone


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did. `following_s` is what the first `followed` of the events took, `seconds` all of it."""

    replaced: tuple[Replaced, ...]
    events: int
    followed: int
    following_s: float
    seconds: float


class Tally:
    """What was followed: how many events, up to where, and how many documents they began in each projection."""

    def __init__(self, projections: Sequence[Projection], progress: Callable[[int, int], None]) -> None:
        self._projections, self._progress = projections, progress
        self.events = 0
        self.checkpoint: Checkpoint | None = None
        self.documents = [0] * len(projections)

    def add(self, batch: list[RecordedEvent], events: list[Event]) -> None:
        """Count a batch; what comes again, because a connection was lost, is not counted again."""
        fresh = [one for one in batch if not self.reaches(one.commit_position)]
        if not fresh:
            return
        if len(fresh) < len(batch):
            ids = {one.id for one in fresh}
            events = [event for event in events if event.id in ids]
        for place, projection in enumerate(self._projections):
            begun = (apply(projection.key, event) for event in events if event.type in projection.begun_by)
            self.documents[place] += sum(document_id is not None for document_id in begun)
        self.events += len(fresh)
        self.checkpoint = Checkpoint(fresh[-1].commit_position, fresh[-1].id)
        self._progress(self.events, self.checkpoint.commit_position)

    def reaches(self, commit_position: int) -> bool:
        """Whether everything up to `commit_position` is counted."""
        return self.checkpoint is not None and self.checkpoint.commit_position >= commit_position


async def rebuild(
    client: AsyncElasticsearch,
    kurrentdb_uri: str,
    progress: Progress,
    projections: Sequence[Projection] = PROJECTIONS,
    check: Callable[[], Awaitable[None]] = unchecked,
) -> Rebuilt:
    """Build new indices for all of `projections`, switch their aliases, delete the old ones, and say what was done.

    Whatever it raises before the switch, the old ones serve on, and what it made is taken away again. `Unavailable`: a
    server is away; `Overtaken`; `Incomplete`; what `Projector.run` and `check` raise, which is awaited before each
    connection to KurrentDB.
    """
    await check()
    # Found rather than opened where it is there: opening writes, and a rebuild that was killed may have left a block.
    old = [await find_index(client, projection) or await open_index(client, projection) for projection in projections]
    beginning = asyncio.ensure_future(begin_generation(client, projections))
    try:
        number = await to_the_end(beginning)
    except asyncio.CancelledError:
        await _clean_up(client, old, beginning.result())
        raise
    try:
        async with EventLog.connect(kurrentdb_uri) as events:
            one = _Rebuild(client, kurrentdb_uri, events, old, number=number, progress=progress, check=check)
            rebuilt = await one.run()
    except IndexLost as error:
        reason = await why_lost(client, old, [under_construction(one, number) for one in projections], error)
        await _clean_up(client, old, number)
        raise reason from error
    except BaseException:
        await _clean_up(client, old, number)
        raise
    try:
        await delete_unused(client, old)
    except Unavailable as error:
        raise Unavailable(
            f"the aliases are switched, the old indices are left for the next rebuild: {error}"
        ) from error
    return rebuilt


class _Rebuild:
    """One rebuild, from the new indices' first document until their aliases are switched."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        kurrentdb_uri: str,
        events: EventLog,
        old: Sequence[Index],
        *,
        number: int,
        progress: Progress,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._client, self._events, self._old, self._progress = client, events, old, progress
        projections = [index.projection for index in old]
        self._built = [under_construction(projection, number) for projection in projections]
        self._tally = Tally(projections, self._show_following)
        metrics = ProjectorMetrics(new_registry())
        self._projector = Projector(
            client, kurrentdb_uri, metrics, self._built, open_one=open_built, watch=self._tally.add, check=check
        )
        self._end = 0

    async def run(self) -> Rebuilt:
        """Follow, compare, follow what came meanwhile, and switch."""
        began = time.monotonic()
        new = [await open_built(self._client, projection) for projection in self._built]
        # One that was killed may have left its block.
        await allow_writes(self._client, self._old)
        async with self._following() as following:
            await self._reach_end(following)
            followed, following_s = self._tally.events, time.monotonic() - began
            comparisons = await self._compare(new, following)
            await serve_as_usual(self._client, new)
            await self._reach_end(following)
            # From here on the projector waits, so that the new indices come to hold all that the old ones do.
            await to_the_end(block_writes(self._client, self._old))
            await self._reach_end(following)
        documents = await self._complete(new)
        await to_the_end(switch_aliases(self._client, self._old, new))
        replaced = tuple(
            Replaced(before.projection.alias, before.name, after.name, count, comparison)
            for before, after, count, comparison in zip(self._old, new, documents, comparisons, strict=True)
        )
        return Rebuilt(replaced, self._tally.events, followed, following_s, time.monotonic() - began)

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[asyncio.Task[None]]:
        """Follow the log inside the block; behind it the last batch is written."""
        stop = asyncio.Event()
        following = asyncio.create_task(self._projector.run(stop))
        try:
            yield following
        finally:
            stop.set()
            await following

    async def _reach_end(self, following: asyncio.Task[None]) -> None:
        """Wait until everything is followed that is in the log now."""
        last = await self._events.last_event()
        self._end = last.commit_position if last else 0
        while last and not self._tally.reaches(self._end):
            if following.done():
                following.result()
            await asyncio.wait({following}, timeout=POLL_S)

    def _show_following(self, events: int, commit_position: int) -> None:
        """Nobody knows how many events there are: about as many for each byte of the log as so far."""
        self._progress(FOLLOWING, events, max(events, events * self._end // max(1, commit_position)))

    async def _compare(self, new: Sequence[Index], following: asyncio.Task[None]) -> list[Comparison]:
        """Compare the old indices as they are now with the new ones, once these hold whatever those can hold."""
        async with AsyncExitStack() as points:
            old = [await points.enter_async_context(frozen(self._client, index)) for index in self._old]
            await self._reach_end(following)
            await refresh(self._client, new)
            of = sum([await count_documents(self._client, index) for index in self._old])
            done = 0

            def show(documents: int) -> None:
                nonlocal done
                done += documents
                self._progress(COMPARING, done, of)

            return [await compare(self._client, point, index, show) for point, index in zip(old, new, strict=True)]

    async def _complete(self, new: Sequence[Index]) -> list[int]:
        """Note how far the new indices have come, and count their documents: `Incomplete` if one is missing."""
        if self._tally.checkpoint:
            await write_checkpoints(self._client, new, self._tally.checkpoint)
        await refresh(self._client, new)
        found = [await count_documents(self._client, index) for index in new]
        for index, documents, expected in zip(new, found, self._tally.documents, strict=True):
            if documents != expected:
                raise Incomplete(
                    f"{index.name} holds {documents} documents, expected {expected} by the events up to "
                    f"{self._tally.checkpoint}: no alias was switched"
                )
        return found


async def refresh(client: AsyncElasticsearch, indices: Sequence[Index]) -> None:
    """Let searches in `indices` see everything that is written."""
    with elasticsearch_errors():
        await client.indices.refresh(index=[index.name for index in indices])


async def count_documents(client: AsyncElasticsearch, index: Index) -> int:
    """How many documents a search through the alias of `index` sees."""
    with elasticsearch_errors():
        return int((await client.count(index=index.projection.alias))["count"])


async def _clean_up(client: AsyncElasticsearch, old: Sequence[Index], number: int) -> None:
    """Let the old indices serve as before, and take the new ones away; what cannot be now, the next rebuild does.

    A block on the old ones belongs to whoever still builds: one that was overtaken must not lift the later one's.
    """
    projections = [index.projection for index in old]
    try:
        if await is_under_construction(client, [under_construction(one, number) for one in projections]):
            await allow_writes(client, old)
        await abandon(client, projections, number)
    except (Unavailable, Fatal) as error:
        log.warning("rebuild_left_something", number=number, reason=str(error))

"""KurrentDB as the worker sees it: runs of events go in at exact revisions, or the server says where streams stand.

One `AppendRecords` call carries many runs, all or none (servers from 26.1 on). A server without that call is found out
once, at the first UNIMPLEMENTED, and gets one append for each run instead, some dozens at once.

Every call is safe to repeat: exact revisions and fixed event ids make the second one a success without effect. So
whatever does not say plainly "written" or "stands elsewhere" is `Unavailable`: unknown, send the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import structlog
from esdbclient import AsyncEventStoreDBClient

from worker.database import create_engine
from worker.errors import Fatal, Unavailable
from worker.outbox.append_records import AppendRecords, CallMissing
from worker.outbox.append_to_stream import AppendToStream, Misplaced
from worker.outbox.connection import Connection, connect, kurrentdb_errors
from worker.outbox.installation import Installation
from worker.outbox.run import Run
from worker.settings import Settings

CALL_TIMEOUT_S = 10.0
APPENDS_AT_ONCE = 32

T = TypeVar("T")

Check = Callable[[AsyncEventStoreDBClient], Awaitable[None]]
"""Raises `Fatal` where a KurrentDB is not the one to be used: `Installation.check`."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append came to: the runs that were not written, and where the streams of the refused ones stand.

    `revisions` maps wallet ids to revisions (-1: no stream; -5, -6: deleted). Where runs go in all or none, runs that
    were not refused stand in `unwritten` too. Where they go one by one, nothing is known of those in `unknown`.
    `misplaced` maps wallet ids to the revisions at which a server accepted events that were meant for other ones: a
    stream that was deleted softly goes on where it ended, whatever was expected.
    """

    unwritten: Sequence[Run] = ()
    revisions: dict[str, int] = field(default_factory=dict)
    unknown: Sequence[Run] = ()
    misplaced: dict[str, int] = field(default_factory=dict)


class EventStore:
    """The process's connection for appends, which `connect` opens.

    Calls are to be made one after another: two at once are not ordered. Nothing is asked or written before `check` has
    accepted the server, for each connection anew.
    """

    def __init__(self, uri: str, check: Check, connect: Callable[[str], Awaitable[Connection]] = connect) -> None:
        self._uri, self._check, self._open = uri, check, connect
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._has_append_records = True

    async def append(self, runs: Sequence[Run]) -> Appended:
        """Append `runs`, each at its exact revision; raise `Unavailable` where the outcome is unknown.

        `Fatal`: KurrentDB refuses our credentials, its certificate does not verify, or it is another installation's.
        """
        return await self._on_connection(lambda connection: self._append(connection, runs))

    async def locate(self, runs: Sequence[Run]) -> dict[str, int]:
        """Where the streams of `runs` stand, by wallet id, as in `Appended.revisions`; nothing is written.

        Raises as `append` does.
        """
        return await self._on_connection(lambda connection: self._locate(connection, runs))

    async def is_ready(self) -> None:
        """Have the server checked once more; raise `Unavailable` where it does not answer, `Fatal` as `append`.

        Several may ask at once.
        """
        with kurrentdb_errors():
            connection = await self._connected()
            await self._check(connection.client)

    async def close(self) -> None:
        """End the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _on_connection(self, call: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            with kurrentdb_errors():
                if self._connection is not None and not self._connection.is_up:
                    # It would connect again by itself, to whatever server is there by then.
                    await self.close()
                return await call(await self._connected())
        except (Unavailable, Fatal):
            # The next attempt looks for the leader anew: it may have moved.
            await self.close()
            raise

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        connection = await self._open(self._uri)
        try:
            await self._until_up(connection)
            await self._check(connection.client)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _until_up(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await connection.channel.channel_ready()
        except TimeoutError:
            # A channel does not say what keeps it from the server, such as a wrong certificate. A call does.
            await self._check(connection.client)
            raise

    async def _locate(self, connection: Connection, runs: Sequence[Run]) -> dict[str, int]:
        if self._has_append_records:
            try:
                return await AppendRecords(connection).locate(runs, timeout_s=CALL_TIMEOUT_S)
            except CallMissing:
                self._call_is_missing()
        at_once = asyncio.Semaphore(APPENDS_AT_ONCE)
        append_to_stream = AppendToStream(connection)

        async def locate(run: Run) -> tuple[str, int]:
            async with at_once:
                return run.wallet_id, await append_to_stream.locate(run.wallet_id, timeout_s=CALL_TIMEOUT_S)

        return dict(await asyncio.gather(*map(locate, runs)))

    def _call_is_missing(self) -> None:
        self._has_append_records = False
        log.warning("append_records_missing", means="one append for each stream: slower, as safe")

    async def _append(self, connection: Connection, runs: Sequence[Run]) -> Appended:
        if self._has_append_records:
            try:
                revisions, misplaced = await AppendRecords(connection)(runs, timeout_s=CALL_TIMEOUT_S)
            except CallMissing:
                self._call_is_missing()
            else:
                return Appended(runs, revisions, misplaced=misplaced) if revisions else Appended(misplaced=misplaced)
        return await _append_each(AppendToStream(connection), runs)


async def _append_each(append_to_stream: AppendToStream, runs: Sequence[Run]) -> Appended:
    at_once = asyncio.Semaphore(APPENDS_AT_ONCE)

    async def append(run: Run) -> int | Misplaced | Exception | None:
        async with at_once:
            try:
                return await append_to_stream(run, timeout_s=CALL_TIMEOUT_S)
            except (grpc.RpcError, OSError, TimeoutError) as error:
                return error

    outcomes = list(zip(runs, await asyncio.gather(*map(append, runs)), strict=True))
    errors = [outcome for _, outcome in outcomes if isinstance(outcome, Exception)]
    if errors and len(errors) == len(runs):
        raise errors[0]
    # What was written stays so: of hundreds of appends one may always be lost.
    revisions = {run.wallet_id: outcome for run, outcome in outcomes if isinstance(outcome, int)}
    return Appended(
        [run for run in runs if run.wallet_id in revisions],
        revisions,
        [run for run, outcome in outcomes if isinstance(outcome, Exception)],
        {run.wallet_id: outcome.revision for run, outcome in outcomes if isinstance(outcome, Misplaced)},
    )


@asynccontextmanager
async def open_event_store(uri: str, check: Check) -> AsyncIterator[EventStore]:
    """A connection for appends that is closed afterwards."""
    store = EventStore(uri, check)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_check(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Lend a check of whether Postgres and KurrentDB belong together, for who only reads from KurrentDB.

    It raises `ForeignStore`, or `Unavailable` where a store is away. Postgres is asked until it has answered once.
    """
    engine = create_engine(settings)
    installation = Installation(engine)

    async def check() -> None:
        async with open_event_store(settings.kurrentdb_uri.get_secret_value(), installation.check) as store:
            await store.is_ready()
        await engine.dispose()

    try:
        yield check
    finally:
        await engine.dispose()

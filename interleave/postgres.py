"""The real Postgres behind gates: what the worker takes for an engine of SQLAlchemy's, and for asyncpg's connections.

Sessions are kept from scene to scene. One whose state is not known is ended for its owner, and rolled back: to the
server the same, and much cheaper. A statement that waits for a lock is found by asking Postgres who waits for whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy.pool import NullPool

from interleave.gates import Actor, Do, Fault, Gates
from worker.codecs import set_codecs
from worker.database import REMEMBER_INSTALLATION
from worker.ledger.lock import BUSY_WALLETS, FETCH_HOLDS, LOCK_FREE_WALLETS, LOCK_WALLETS, READ_CLOCK
from worker.ledger.persist import UPDATE_HOLDS, UPDATE_WALLETS
from worker.ledger.quarantine import FIND, QUARANTINE
from worker.ledger.recall import RECALL
from worker.outbox.backfill import LOAD_ENTRIES, READ_VERSIONS
from worker.settings import Settings

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""Postgres's time at a scene's begin."""

WHO_WAITS = "SELECT pid, pg_blocking_pids(pid) FROM unnest($1::int[]) AS pid"

_NAMES = {
    LOCK_WALLETS: "lock",
    LOCK_FREE_WALLETS: "lock without waiting",
    READ_CLOCK: "read the clock",
    RECALL: "recall",
    UPDATE_WALLETS: "update wallets",
    BUSY_WALLETS: "find locked wallets",
    QUARANTINE: "quarantine",
    FIND: "find quarantined",
    LOAD_ENTRIES: "load events",
    READ_VERSIONS: "read versions",
    "COMMIT": "COMMIT",
}
"""The statements that are gates: others of a transaction cannot be told apart from these by who comes between."""
_AT_ONCE = {FETCH_HOLDS: "fetch holds", UPDATE_HOLDS: "update holds"}


class Session:
    """A session of the server's."""

    def __init__(self, raw: asyncpg.Connection[Any]) -> None:
        self.raw = raw
        self.pid: int = raw.get_server_pid()


class Postgres:
    """The server: its sessions, and who waits for whom."""

    def __init__(self, gates: Gates, settings: Settings) -> None:
        self.gates = gates
        self._settings = settings
        self._free: list[Session] = []
        self._watch: asyncpg.Connection[Any] | None = None
        self._asking = asyncio.Lock()
        self.actor = Actor("postgres")
        gates.find_blocked, gates.on_blocked = self.find_blocked, self.cancel

    async def open(self, sessions: int) -> None:
        """Connect so many sessions."""
        self._watch = await self._connect()
        self._free = [Session(await self._connect()) for _ in range(sessions)]

    async def close(self) -> None:
        """End all sessions that nobody uses."""
        for session in self._free:
            await session.raw.close()
        if self._watch is not None:
            await self._watch.close()

    async def session(self) -> Session:
        """A free session."""
        if not self._free:
            self._free.append(Session(await self.gates.fly(self._connect)))
        return self._free.pop()

    def give_back(self, session: Session) -> None:
        """Take a session that is in no transaction."""
        self._free.append(session)

    async def _connect(self) -> asyncpg.Connection[Any]:
        settings = self._settings
        raw = await asyncpg.connect(
            host=settings.db_host,
            port=settings.db_port,
            user=settings.db_username,
            password=settings.db_password.get_secret_value(),
            database=settings.db_name,
            server_settings={"search_path": "public", "TimeZone": "UTC", "jit": "off"},
        )
        await set_codecs(raw)
        await raw.execute(REMEMBER_INSTALLATION)
        return raw

    async def find_blocked(self, pids: list[int]) -> set[int]:
        """Which of these sessions wait for another one's lock; not those that wait in a circle, which Postgres ends."""
        found = await self._ask(lambda watch: watch.fetch(WHO_WAITS, pids))
        waits = {pid: set(others) for pid, others in found if others}
        return {pid for pid in waits if not _is_in_circle(pid, waits)}

    async def cancel(self, pid: int) -> None:
        """Cancel a session's statement."""
        await self._ask(lambda watch: watch.execute("SELECT pg_cancel_backend($1)", pid))

    async def outside(self, do: Callable[[asyncpg.Connection[Any]], Awaitable[Any]]) -> Any:
        """Do something beside all scenes."""
        with self.gates.outside():
            return await self._ask(do)

    async def _ask(self, do: Callable[[asyncpg.Connection[Any]], Awaitable[Any]]) -> Any:
        assert self._watch is not None
        async with self._asking:
            return await do(self._watch)


def _is_in_circle(pid: int, waits: Mapping[int, set[int]]) -> bool:
    seen: set[int] = set()
    left = set(waits[pid])
    while left:
        other = left.pop()
        if other == pid:
            return True
        if other not in seen:
            seen.add(other)
            left |= waits.get(other, set())
    return False


class Connection:
    """What the worker takes for asyncpg's connection."""

    def __init__(self, server: Postgres, session: Session, owner: str) -> None:
        self._owner = owner
        self._server = server
        self._gates = server.gates
        self._session = session
        self._ended = False
        self._under_way: asyncio.Future[Any] | None = None

    async def execute(self, statement: str, *args: Any) -> Any:
        """As asyncpg does."""
        return await self._call(statement, args, lambda raw: raw.execute(statement, *args))

    async def fetch(self, statement: str, *args: Any) -> Any:
        """As asyncpg does; the clock is the loop's."""
        rows = await self._call(statement, args, lambda raw: raw.fetch(statement, *args))
        return [(self._now(), *rows[0][1:])] if statement == READ_CLOCK else rows

    async def fetchval(self, statement: str, *args: Any) -> Any:
        """As asyncpg does."""
        return await self._call(statement, args, lambda raw: raw.fetchval(statement, *args))

    async def copy_records_to_table(self, table: str, *, records: Sequence[Any], columns: Sequence[str]) -> Any:
        """As asyncpg does."""
        what = "insert commands" if table == "commands" else None
        return await self._call(
            what or f"insert {table}",
            (),
            lambda raw: raw.copy_records_to_table(table, records=records, columns=columns),
            is_gate=what is not None,
        )

    def is_in_transaction(self) -> bool:
        """As asyncpg does."""
        return not self._ended and self._session.raw.is_in_transaction()

    def is_closed(self) -> bool:
        """As asyncpg does."""
        return self._ended

    def terminate(self) -> None:
        """Cut the connection. The server notices some time later, and rolls back."""
        if not self._ended:
            self._ended = True
            self._server.actor.start(self._end_session())

    async def _end_session(self) -> None:
        async def end() -> None:
            raw = self._session.raw
            if self._under_way is not None and not self._under_way.done():
                await self._gates.fly(lambda: self._server.cancel(self._session.pid))
                await asyncio.wait({self._under_way})
            if raw.is_in_transaction():
                await self._gates.fly(lambda: raw.execute("ROLLBACK"))
                self._gates.look_at_locks()
            self._server.give_back(self._session)

        await self._gates.call(f"end of a session of {self._owner}", end)

    async def _call(
        self,
        statement: str,
        args: Sequence[Any],
        do: Callable[[asyncpg.Connection[Any]], Any],
        is_gate: bool | None = None,
    ) -> Any:
        if self._ended:
            raise asyncpg.InterfaceError("the connection is closed")

        async def fly() -> Any:
            self._under_way = asyncio.ensure_future(do(self._session.raw))
            try:
                return await self._under_way
            finally:
                if not self._session.raw.is_in_transaction():
                    self._gates.look_at_locks()

        async def send() -> Any:
            return await self._gates.fly(fly, self._session.pid)

        name = _NAMES.get(statement)
        if name is None and not is_gate:
            return await self._gates.call_at_once(_AT_ONCE.get(statement, statement), send)
        what = f"{name or statement}{self._about(args)}"
        return await self._gates.call(what, send, _FAULTS.get(name or statement, _LOST))

    def _about(self, args: Sequence[Any]) -> str:
        ids = args[0] if args and isinstance(args[0], list) else ()
        names = {self._gates.names[id_] for id_ in ids if id_ in self._gates.names}
        return f" {' '.join(sorted(names))}" if names else ""

    def _now(self) -> datetime:
        return BEGINNING + timedelta(microseconds=round(self._gates.loop.now * 1e6))


async def _lost_before(do: Do) -> Any:
    raise ConnectionResetError("cut before it was done")


async def _lost_after(do: Do) -> Any:
    await do()
    raise ConnectionResetError("cut after it was done")


def _refused(error: type[asyncpg.PostgresError]) -> Fault:
    async def refuse(do: Do) -> Any:
        raise error("refused by the scheduler")

    return refuse


_LOST: dict[str, Fault] = {"lost before": _lost_before}
_FAULTS: dict[str, dict[str, Fault]] = {
    "lock": {**_LOST, "lock time-out": _refused(asyncpg.LockNotAvailableError)},
    "insert commands": {
        **_LOST,
        "conflict": _refused(asyncpg.SerializationError),
        "fails": _refused(asyncpg.RaiseError),
    },
    "update wallets": {**_LOST, "conflict": _refused(asyncpg.DeadlockDetectedError)},
    "COMMIT": {**_LOST, "lost after": _lost_after},
}


class _Pooled:
    """What the worker takes for SQLAlchemy's connection."""

    def __init__(self, connection: Connection) -> None:
        self.driver_connection = connection
        self.sync_connection = self

    async def get_raw_connection(self) -> _Pooled:
        return self

    def invalidate(self) -> None:
        """Connections that ended are not kept anyway."""


class Engine:
    """What the worker takes for SQLAlchemy's engine: a pool of one owner's connections."""

    def __init__(self, server: Postgres, owner: str) -> None:
        self._owner = owner
        self.sync_engine = NullPool(lambda: None)  # type: ignore[arg-type, return-value]
        self._server = server
        self._idle: list[Connection] = []
        self._all: list[Connection] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[_Pooled]:
        """Lend a connection."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = Connection(self._server, await self._server.session(), self._owner)
            self._all.append(connection)
            self.sync_engine.dispatch.connect(None, None)
        try:
            yield _Pooled(connection)
        finally:
            if not connection.is_closed():
                self._idle.append(connection)

    def cut(self) -> None:
        """End all connections: their owner is dead, or the scene is over."""
        for connection in self._all:
            connection.terminate()

"""Which stores belong together: one id in Postgres and in KurrentDB, compared with each new connection to either.

A database has its id from the migration that made its table. The first process that connects gives that id to
KurrentDB, if nothing speaks against it: KurrentDB holds nothing, or events of this ledger (an installation that is
older than its id). From then on the two are joined, and every other pair is refused with `ForeignStore`, before
anything is written. Who comes first does not matter: Postgres lets one process join at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import asyncpg
import orjson
from esdbclient import AsyncEventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import NotFound, StreamIsDeleted
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.contracts.events import STREAM_PREFIX, stream_name
from worker.database import RawConnection, on_connect, passing_failures, raw_connection, raw_transaction
from worker.errors import ForeignStore
from worker.outbox.connection import kurrentdb_errors

STREAM = "wallex-installation"
EVENT_TYPE = "InstallationNamed"
CALL_TIMEOUT_S = 5.0
SCAN_TIMEOUT_S = 60.0
"""A KurrentDB that others use as well is read through once, to see that it has no wallets."""
SAMPLED_WALLETS = 100
"""One event of theirs in KurrentDB is proof. Not all need have one: a worker may have died before it appended."""

READ = "SELECT id::text, joined_at IS NOT NULL FROM installation"
# Locked until the id stands in KurrentDB: processes that are given different ones must not name both.
LOCK = f"{READ} FOR UPDATE"
JOIN = "UPDATE installation SET joined_at = clock_timestamp() WHERE joined_at IS NULL"
SESSION = "SELECT current_setting('wallex.installation')"
SAMPLE = """
SELECT wallet.id::text, entry.event_id::text
FROM (SELECT id FROM wallets LIMIT $1) AS wallet JOIN ledger AS entry ON entry.wallet_id = wallet.id
WHERE entry.version = 0
"""

WAY_OUT = (
    "Nothing was done. Point KURRENTDB_URI and DB_HOST, DB_PORT and DB_NAME to stores that belong together; where one "
    "was replaced on purpose, see `wallex installation show`, and docs/operating.md, Stores that belong together"
)


class Own(NamedTuple):
    """What the database says: its id, and whether a KurrentDB has it too."""

    id: str
    is_joined: bool


class Standing(NamedTuple):
    """What the database says, the id that KurrentDB has, and why the two do not belong together, if they do not."""

    own: Own
    found: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Traces:
    """What there is of wallets in stores that no id joins yet.

    `shared`: an event of the ledger stands in its stream. `in_postgres`, `in_kurrentdb`: there are any.
    """

    shared: bool
    in_postgres: bool
    in_kurrentdb: bool


def why_foreign(own: Own, found: str | None, traces: Traces | None) -> str | None:
    """Why a KurrentDB with the id `found` does not belong to the database `own`; None where it does.

    `traces` decide where neither says anything: not joined, and no id.
    """
    if found == own.id:
        return None
    if found is not None and own.is_joined:
        return f"KurrentDB belongs to the installation {found}, the database to {own.id}: one of them is foreign"
    if found is not None:
        return f"the database is foreign: it is new or was emptied, and KurrentDB belongs to the installation {found}"
    if own.is_joined:
        return f"KurrentDB is foreign: it is empty or another's, and the database belongs to the installation {own.id}"
    if traces is None or traces.shared:
        return None
    if traces.in_postgres:
        return "KurrentDB is foreign: it has none of the events that the database's ledger has"
    if traces.in_kurrentdb:
        return "the database is foreign: it has no wallets, and KurrentDB has"
    return None


class Installation:
    """The installation of a process: found out once, and compared from then on.

    Each new session of `engine` is compared by itself; a KurrentDB is by `check`, which whoever connects to one calls.
    `refused` is what was found to be foreign, if anything was.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._id: str | None = None
        self.refused: ForeignStore | None = None
        on_connect(engine, self._check_session)

    @property
    def is_known(self) -> bool:
        """Whether the stores were found to belong together."""
        return self._id is not None

    async def check(self, client: AsyncEventStoreDBClient) -> None:
        """Compare the KurrentDB of `client`; raises `ForeignStore`, or `Unavailable` where a store is away.

        The first time it reads Postgres, and joins the stores where nobody did yet.
        """
        if self._id is None:
            self._id = await self._introduce(client)
        else:
            self._refuse(why_foreign(Own(self._id, is_joined=True), await read_id(client), None))

    async def _introduce(self, client: AsyncEventStoreDBClient) -> str:
        seen = await look(self._engine, client)
        while seen.why is not None and await read_own(self._engine) != seen.own:
            # Another process joined the two meanwhile, and ran commands: some of this was seen before it, some after.
            seen = await look(self._engine, client)
        self._refuse(seen.why)
        if not seen.own.is_joined:
            await self._join(client)
        return seen.own.id

    async def _join(self, client: AsyncEventStoreDBClient) -> None:
        """Give KurrentDB the database's id; safe to repeat, and in several processes at once."""
        async with passing_failures(), raw_transaction(self._engine) as connection:
            own, found = await lock_own(connection), await read_id(client)
            self._refuse(why_foreign(own, found, None))
            if found is None:
                await write_id(client, own.id, StreamState.NO_STREAM)
            await connection.execute(JOIN)

    async def _check_session(self, raw: RawConnection) -> None:
        if self._id is not None:
            found = await raw.fetchval(SESSION)
            if found != self._id:
                self._refuse(f"the database belongs to another installation, {found}, than it did: {self._id}")

    def _refuse(self, why: str | None) -> None:
        if why is not None:
            url = self._engine.url
            self.refused = ForeignStore(
                f"the database {url.database} at {url.host}:{url.port} and the KurrentDB of KURRENTDB_URI do not "
                f"belong together: {why}. {WAY_OUT}"
            )
            raise self.refused


async def look(engine: AsyncEngine, client: AsyncEventStoreDBClient) -> Standing:
    """Compare the two stores, and change nothing; raises as `read_id`."""
    # In this order: what is joined in Postgres has its id in KurrentDB already.
    own, found = await read_own(engine), await read_id(client)
    asked = found is None and not own.is_joined
    return Standing(own, found, why_foreign(own, found, await find_traces(engine, client) if asked else None))


async def read_own(engine: AsyncEngine) -> Own:
    """What the database says; raises `Unavailable`."""
    async with passing_failures(), raw_connection(engine) as connection:
        return _own(await connection.fetchrow(READ))


async def lock_own(connection: RawConnection) -> Own:
    """What the database says, which stays so until the transaction ends; raises what asyncpg raises."""
    return _own(await connection.fetchrow(LOCK))


async def read_id(client: AsyncEventStoreDBClient) -> str | None:
    """The id that a KurrentDB was given last; None where it has none. Raises as `kurrentdb_errors`."""
    with kurrentdb_errors():
        try:
            events = await client.get_stream(STREAM, backwards=True, limit=1, timeout=CALL_TIMEOUT_S)
        except NotFound:
            return None
        except StreamIsDeleted as error:
            raise ForeignStore(f"KurrentDB: the stream {STREAM} was deleted for ever: restore a backup") from error
    return _id_in(events[0].data) if events else None


async def write_id(client: AsyncEventStoreDBClient, id_: str, current_version: StreamState = StreamState.ANY) -> None:
    """Give a KurrentDB an id, which counts from then on; raises as `read_id`, and where `current_version` is wrong."""
    event = NewEvent(type=EVENT_TYPE, data=orjson.dumps({"installationId": id_}), id=uuid4())
    with kurrentdb_errors():
        await client.append_to_stream(STREAM, current_version=current_version, events=[event], timeout=CALL_TIMEOUT_S)


async def find_traces(engine: AsyncEngine, client: AsyncEventStoreDBClient) -> Traces:
    """Look what the two stores have of wallets; raises as `read_id`."""
    async with passing_failures(), raw_connection(engine) as connection:
        sample = await connection.fetch(SAMPLE, SAMPLED_WALLETS)
    with kurrentdb_errors():
        for wallet_id, event_id in sample:
            if await _first_event_id(client, wallet_id) == event_id:
                return Traces(shared=True, in_postgres=True, in_kurrentdb=True)
        return Traces(shared=False, in_postgres=bool(sample), in_kurrentdb=await _has_wallets(client))


async def _first_event_id(client: AsyncEventStoreDBClient, wallet_id: str) -> str | None:
    try:
        events = await client.get_stream(stream_name(wallet_id), limit=1, timeout=CALL_TIMEOUT_S)
    except (NotFound, StreamIsDeleted):
        return None
    return str(events[0].id) if events and events[0].stream_position == 0 else None


async def _has_wallets(client: AsyncEventStoreDBClient) -> bool:
    wallets = await client.read_all(
        backwards=True,
        filter_include=[f"{STREAM_PREFIX}.*"],
        filter_by_stream_name=True,
        limit=1,
        timeout=SCAN_TIMEOUT_S,
    )
    return bool([event async for event in wallets])


def _own(row: asyncpg.Record | None) -> Own:
    if row is None:
        raise ForeignStore("Postgres: the table installation is empty, expected one row: restore a backup")
    return Own(*row)


def _id_in(data: bytes) -> str:
    """The id in an event's data; what nobody of ours wrote there is shown as it is, and equals no id."""
    try:
        return str(orjson.loads(data)["installationId"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return data[:100].decode(errors="replace")

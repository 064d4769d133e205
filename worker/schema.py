"""Whether a Postgres can hold the wallets: its version, the database's encoding, and the schema it was migrated to.

Looked at with each new connection (version and encoding, which the server says by itself) and with the first one of a
process (the schema: others may migrate it while this process runs). What is found does not pass by waiting: `Fatal`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from worker.errors import Fatal
from worker.tables import SCHEMA_REVISION, metadata

if TYPE_CHECKING:
    from worker.database import RawConnection

POSTGRES_MAJOR_MIN = 17
"""The first one that knows `transaction_timeout`, which bounds a direct call."""
ENCODING = "UTF8"
HOW_TO_MIGRATE = "run `wallex migrate run`, or start a worker with DB_RUN_MIGRATIONS=true"

IS_READABLE = "SELECT has_table_privilege(to_regclass('public.alembic_version'), 'SELECT')"
"""NULL where there is no such table: with `DB_SYNC` nobody notes a revision."""
COLUMNS = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"


def refuse_server(connection: RawConnection) -> None:
    """Raise `Fatal` where the server is too old, or the database cannot hold every text. Asks the server nothing."""
    version = connection.get_server_version()
    if version.major < POSTGRES_MAJOR_MIN:
        raise Fatal(
            f"Postgres is of version {version.major}: expected {POSTGRES_MAJOR_MIN} or later; upgrade it, or check "
            "DB_HOST and DB_PORT"
        )
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        raise Fatal(
            f"the database has the encoding {encoding}, which cannot hold every text: expected {ENCODING}; make one "
            "with CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8', and set DB_NAME"
        )


async def refuse_schema(connection: RawConnection) -> None:
    """Raise `Fatal` where the schema is not the one that this program was written for."""
    is_readable = await connection.fetchval(IS_READABLE)
    if is_readable is False:
        # What the runtime role may do is part of the schema: each run of the migrations grants it.
        raise Fatal(f"DB_USERNAME may not read the schema's revision (alembic_version): {HOW_TO_MIGRATE}")
    revision = await connection.fetchval("SELECT version_num FROM public.alembic_version") if is_readable else None
    columns = [tuple(row) for row in await connection.fetch(COLUMNS)] if revision is None else []
    problem = find_problem(revision, columns)
    if problem is not None:
        raise Fatal(problem)


def find_problem(revision: str | None, columns: Collection[tuple[str, ...]]) -> str | None:
    """What is wrong with a schema at `revision`, and what to do; None where it is the one that is needed.

    Without a revision (None) its `columns` count, as pairs of table and column: `DB_SYNC` may have made them.
    """
    if revision is None:
        return _find_lack(columns)
    if revision == SCHEMA_REVISION:
        return None
    return say_newer(revision) if revision > SCHEMA_REVISION else say_older(revision)


def say_newer(revision: str) -> str:
    """What to say of a schema that a later program has migrated."""
    return (
        f"the schema is at {revision}, newer than this program, which was written for {SCHEMA_REVISION}: start the "
        "version of Wallex that migrated it, or a later one"
    )


def say_older(revision: str) -> str:
    """What to say of a schema with migrations pending."""
    return f"the schema is at {revision}, and this program was written for {SCHEMA_REVISION}: {HOW_TO_MIGRATE}"


def _find_lack(columns: Collection[tuple[str, ...]]) -> str | None:
    needed = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    lacking = sorted(".".join(column) for column in needed - set(columns))
    if not lacking:
        return None
    if len(lacking) == len(needed):
        return f"the database has no tables of Wallex: {HOW_TO_MIGRATE}"
    return (
        f"the tables lack {', '.join(lacking)}: DB_SYNC makes missing tables, and changes none that is there; "
        "make the database anew"
    )

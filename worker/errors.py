"""What can go wrong besides a business "no", and what is to be done about it: one tree, one place.

    WallexError
    ├── Unavailable        a server is away, full or misconfigured: try the same again, for as long as it takes
    ├── LockTimeout        somebody sits on a row: try again, then go on without those wallets
    ├── Conflict           another transaction came first: try again; the second time alike, halve the batch
    ├── Contradiction      the stores disagree: stop that partition and tell a person
    └── Fatal              this process cannot go on: one line that says what to do, then exit

Anything else that comes out of a transaction is unexpected: it is a command's own fault until proven otherwise, and the
batch is halved until that command stands alone. Foreign errors are mapped here and nowhere else.
"""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class WallexError(Exception):
    """The root of all errors that this package raises itself."""


class Unavailable(WallexError):
    """A server cannot serve now. Never answered to a sender, never dead-lettered: the same is tried again."""


class LockTimeout(WallexError):
    """A row or another transaction was waited for longer than `lock_timeout` or `statement_timeout` allow."""


class Conflict(WallexError):
    """Another transaction came first: a version moved, an id was taken, Postgres chose a victim."""


class Contradiction(WallexError):
    """The stores disagree in a way that no repeat mends."""


class Fatal(WallexError):
    """The process cannot go on as it was started. The message says what to do."""


# What an error means, by its class; the first that fits. Everything else is unexpected.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[WallexError]], ...] = (
    ((asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError), LockTimeout),
    (
        (
            asyncpg.DeadlockDetectedError,
            asyncpg.SerializationError,
            asyncpg.UniqueViolationError,
            # The tables were migrated under a prepared statement.
            asyncpg.InvalidCachedStatementError,
            asyncpg.OutdatedSchemaCacheError,
        ),
        Conflict,
    ),
    ((OSError, TimeoutError, PoolTimeout, asyncpg.InterfaceError, asyncpg.InternalClientError), Unavailable),
    # Only a connection attempt comes through SQLAlchemy: the statements run on asyncpg itself.
    ((DBAPIError,), Unavailable),
)
# Not a command's fault: connections, roles, resources, shutdown, disks, credentials, a schema that is not migrated.
_UNAVAILABLE_CLASSES = ("08", "25", "28", "3D", "42", "53", "57", "58")


def from_postgres(error: Exception) -> WallexError | None:
    """What `error`, raised around a transaction, means; None where it is unexpected."""
    if isinstance(error, WallexError):
        return error
    text = f"{type(error).__name__}: {error}"
    for types, meaning in _MEANINGS:
        if isinstance(error, types):
            return meaning(text)
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in _UNAVAILABLE_CLASSES:
        return Unavailable(text)
    return None

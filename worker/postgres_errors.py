"""What an error around a transaction in Postgres means, and so what is to be done about it."""

from __future__ import annotations

import ssl

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import Conflict, LockTimeout, Unavailable, WallexError, not_trusted

# What an error means, by its class; the first that fits. Everything else is unexpected.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[WallexError]], ...] = (
    ((asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError), LockTimeout),
    (
        (
            asyncpg.DeadlockDetectedError,
            asyncpg.SerializationError,
            asyncpg.UniqueViolationError,
            asyncpg.InvalidCachedStatementError,  # the tables were migrated under a prepared statement
            asyncpg.InvalidSQLStatementNameError,  # a pooler took it away
            asyncpg.OutdatedSchemaCacheError,
        ),
        Conflict,
    ),
    ((OSError, TimeoutError, PoolTimeout, asyncpg.InterfaceError, asyncpg.InternalClientError), Unavailable),
    # Only a connection attempt comes through SQLAlchemy: the statements run on asyncpg itself.
    ((DBAPIError,), Unavailable),
)
# Not a command's fault: connections, roles, resources, shutdown, disks, a schema that is not migrated.
_UNAVAILABLE_CLASSES = ("08", "25", "42", "53", "57", "58")
# What does not pass by waiting, for a process whose settings do not change. The first: class 28 of SQLSTATE, the
# password, the role, or what `pg_hba.conf` says. The last is an `OSError` too.
_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    ssl.SSLCertVerificationError,
)
# On a running connection it may pass: rights change. As an answer to a connection it is about the role's own.
_REFUSALS_OF_A_CONNECTION = (*_REFUSALS, asyncpg.InsufficientPrivilegeError)
_VARIABLES = "DB_HOST, DB_PORT, DB_NAME, DB_USERNAME, DB_PASSWORD, DB_SSL and DB_SSL_CA"


def from_postgres(error: Exception) -> WallexError | None:
    """What `error`, raised around a transaction, means; None where it is unexpected."""
    if isinstance(error, WallexError):
        return error
    if (
        isinstance(error, DBAPIError)
        and error.orig is not None
        and isinstance(error.orig.__cause__, _REFUSALS_OF_A_CONNECTION)
    ):
        # SQLAlchemy wraps the driver's error twice, and adds lines to its text.
        error = error.orig.__cause__
        return not_trusted("Postgres", f"{type(error).__name__}: {error}", _VARIABLES)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
        text += ": the schema is not the one that this program needs, `wallex migrate show` says what is pending"
    if isinstance(error, _REFUSALS) or _speaks_no_tls(error):
        return not_trusted("Postgres", text, _VARIABLES)
    for types, meaning in _MEANINGS:
        if isinstance(error, types):
            return meaning(text)
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in _UNAVAILABLE_CLASSES:
        return Unavailable(text)
    return None


def _speaks_no_tls(error: Exception) -> bool:
    """Whether the server said that it does not encrypt. asyncpg has no type for it."""
    return isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error)

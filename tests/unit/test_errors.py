"""What an error from Postgres means: each kind the driver knows has its place."""

from __future__ import annotations

import ssl

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import Conflict, Contradiction, Fatal, LockTimeout, Unavailable, WallexError
from worker.postgres_errors import from_postgres

NAMED = {
    asyncpg.LockNotAvailableError("x"): LockTimeout,
    asyncpg.QueryCanceledError("x"): LockTimeout,
    asyncpg.DeadlockDetectedError("x"): Conflict,
    asyncpg.SerializationError("x"): Conflict,
    asyncpg.UniqueViolationError("x"): Conflict,
    asyncpg.InvalidCachedStatementError("x"): Conflict,
    asyncpg.InvalidSQLStatementNameError("x"): Conflict,
    asyncpg.OutdatedSchemaCacheError("x"): Conflict,
    asyncpg.CannotConnectNowError("x"): Unavailable,
    asyncpg.AdminShutdownError("x"): Unavailable,
    asyncpg.CrashShutdownError("x"): Unavailable,
    asyncpg.IdleInTransactionSessionTimeoutError("x"): Unavailable,
    asyncpg.ConnectionDoesNotExistError("x"): Unavailable,
    asyncpg.TooManyConnectionsError("x"): Unavailable,
    asyncpg.DiskFullError("x"): Unavailable,
    asyncpg.ReadOnlySQLTransactionError("x"): Unavailable,
    asyncpg.InvalidPasswordError("x"): Fatal,
    asyncpg.InvalidAuthorizationSpecificationError("x"): Fatal,
    ssl.SSLCertVerificationError("x"): Fatal,
    ssl.SSLEOFError("x"): Unavailable,
    asyncpg.InvalidCatalogNameError("x"): Fatal,
    ConnectionError("PostgreSQL server at x rejected SSL upgrade"): Fatal,
    ConnectionError("PostgreSQL server at x: server sent an error response during SSL exchange"): Unavailable,
    asyncpg.UndefinedTableError("x"): Unavailable,
    asyncpg.UndefinedColumnError("x"): Unavailable,
    asyncpg.InsufficientPrivilegeError("x"): Unavailable,
    asyncpg.PostgresIOError("x"): Unavailable,
    asyncpg.InterfaceError("x"): Unavailable,
    asyncpg.InternalClientError("x"): Unavailable,
    ConnectionRefusedError("x"): Unavailable,
    ConnectionResetError("x"): Unavailable,
    TimeoutError("x"): Unavailable,
    PoolTimeout("x"): Unavailable,
    OperationalError("x", None, OSError("x")): Unavailable,
    InterfaceError("x", None, OSError("x")): Unavailable,
    DBAPIError("x", None, OSError("x")): Unavailable,
    asyncpg.CheckViolationError("x"): None,
    asyncpg.NotNullViolationError("x"): None,
    asyncpg.ForeignKeyViolationError("x"): None,
    asyncpg.NumericValueOutOfRangeError("x"): None,
    asyncpg.CharacterNotInRepertoireError("x"): None,
    asyncpg.DataError("x"): None,
    asyncpg.RaiseError("x"): None,
    asyncpg.InternalServerError("x"): None,
    ValueError("x"): None,
    KeyError("x"): None,
    ZeroDivisionError("x"): None,
}

# What is not a command's own fault, by the class of its SQLSTATE; of classes that are not here, it may be.
REFUSED = {"28"}
UNAVAILABLE = {"08", "25", "3D", "42", "53", "57", "58"}
UNEXPECTED = {
    "03", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "26", "27", "2B", "2D", "2F",
    "34", "38", "39", "3B", "3F", "40", "44", "54", "55", "72", "F0", "HV", "P0", "XX",
}  # fmt: skip


@pytest.mark.parametrize(("error", "meaning"), NAMED.items(), ids=lambda value: type(value).__name__)
def test_an_error_means_one_thing(error, meaning):
    """Try again, go on without those wallets, look again, or look for the command whose fault it is."""
    mapped = from_postgres(error)

    assert (type(mapped) if mapped is not None else None) is meaning


@pytest.mark.parametrize("error", [Unavailable("a"), LockTimeout("b"), Conflict("c"), Contradiction("d"), Fatal("e")])
def test_our_own_errors_mean_what_they_are(error):
    """They are not wrapped a second time."""
    assert from_postgres(error) is error
    assert isinstance(error, WallexError)


def test_a_mapped_error_says_what_the_driver_said():
    """The line in the log names the class, which the text alone often does not."""
    mapped = from_postgres(asyncpg.DiskFullError("no space left on device"))

    assert str(mapped) == "DiskFullError: no space left on device"


def test_every_class_of_errors_that_the_driver_knows_has_its_place():
    """When the driver learns a new class of SQLSTATE, somebody decides what it means."""
    known = {error.sqlstate[:2] for error in _subclasses(asyncpg.PostgresError) if error.sqlstate}

    assert known - {"00", "01", "02"} == REFUSED | UNAVAILABLE | UNEXPECTED


def test_every_error_of_a_class_means_what_the_class_does():
    """But for those that are named one by one."""
    named = tuple(type(error) for error in NAMED)
    unnamed = [error for error in _subclasses(asyncpg.PostgresError) if error.sqlstate and not issubclass(error, named)]

    meant = {error: from_postgres(error("x")) for error in unnamed}

    assert unnamed
    for error, meaning in meant.items():
        expected = Unavailable if error.sqlstate[:2] in UNAVAILABLE else type(None)
        assert isinstance(meaning, expected), error


def _subclasses(error: type[Exception]) -> set[type[Exception]]:
    return {error}.union(*(_subclasses(sub) for sub in error.__subclasses__()))

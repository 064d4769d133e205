"""The transaction of a direct call: a few seconds at most, and every error says what became of the command.

A worker's batch is tried again until it passes; a caller beside the database wants an answer. The limit is kept twice:
here, and by Postgres itself, for a process that hangs must not keep its wallets locked. Safe to repeat under the same
command id, whatever it raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import RawConnection, raw_transaction
from worker.errors import (
    CommandError,
    Conflict,
    EventConcurrencyError,
    Fatal,
    InternalError,
    LockTimeout,
    NotDoneError,
    OutcomeUnknownError,
    Unavailable,
)
from worker.postgres_errors import from_postgres

TRANSACTION_S = 5.0


@dataclass(slots=True)
class Progress:
    """Whose turn it is in the transaction of `command_id`: an error means what it does by when it came."""

    command_id: str
    in_callers_code: bool = False
    committing: bool = False


@asynccontextmanager
async def bounded_transaction(engine: AsyncEngine, progress: Progress) -> AsyncIterator[RawConnection]:
    """Lend a connection in a transaction: committed after the block, rolled back on an error or after `TRANSACTION_S`.

    Raises a `CommandError`; what the caller's own code raised passes through as it is.
    """
    deadline = asyncio.timeout(TRANSACTION_S)
    try:
        async with deadline, raw_transaction(engine) as connection:
            await connection.execute(f"SET LOCAL transaction_timeout = {round(TRANSACTION_S * 1000)}")
            yield connection
            progress.committing = True
    except Exception as error:
        if isinstance(error, CommandError):
            raise
        if progress.committing:
            message = "The answer to the commit was lost. The same under this command id tells what became of it."
            raise OutcomeUnknownError(progress.command_id, message) from error
        if deadline.expired():
            message = f"The transaction took longer than {TRANSACTION_S:g} s. Nothing took effect."
            raise NotDoneError(progress.command_id, message) from error
        if progress.in_callers_code:
            raise
        raise as_command_error(progress.command_id, error) from (from_postgres(error) or error)


def as_command_error(command_id: str, error: Exception) -> CommandError:
    """What `error`, raised before the commit, means to the caller: in any case, nothing took effect."""
    meaning = from_postgres(error)
    if isinstance(meaning, CommandError):
        return meaning
    if isinstance(meaning, LockTimeout | Conflict):
        message = "Another transaction has the wallet, or came first. Nothing was done: try again."
        return EventConcurrencyError(command_id, message, {"reason": str(meaning)})
    if isinstance(meaning, Unavailable | Fatal):
        what = "is away" if isinstance(meaning, Unavailable) else "refuses us"
        return NotDoneError(command_id, f"Postgres {what}. Nothing took effect.", {"reason": str(meaning)})
    return InternalError(command_id, f"It failed for an unexpected reason and took no effect: {error!r}")

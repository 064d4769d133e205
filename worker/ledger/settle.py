"""Run a batch until each of its commands is decided, or waits for wallets that somebody else has locked.

What may go wrong, and what becomes of it:

- Postgres is away: the same again, for as long as it takes.
- Another transaction came first: the same again; time and again, the batch is halved.
- A lock was waited for in vain, twice: the commands on locked wallets are parked, and with them whatever must not
  overtake them; the others run.
- Anything else: the batch is halved until the command stands alone whose fault it is. It gets `InternalError`.

Promises: in the order given for each wallet and each key; one bad command or one foreign lock does not hold up others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.database import raw_transaction
from worker.domain.decide import wallet_ids
from worker.errors import Conflict, Fatal, LockTimeout, Unavailable
from worker.ledger.batch import record_failure, run_batch
from worker.ledger.decide_batch import Failed, Outcome, Received
from worker.ledger.lock import find_busy_wallets
from worker.postgres_errors import from_postgres
from worker.retry import until_available

LOCK_TIMEOUTS_MAX = 2
CONFLICTS_MAX = 2
LONE_CONFLICTS_MAX = 10
"""A conflict is hardly ever a command's own fault: more than this process has connections, each of which may hold
statements that were prepared before a migration."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Parked:
    """What parked commands are about: nothing on these wallets, nor under these record keys, may overtake them."""

    wallets: set[str] = field(default_factory=set)
    keys: set[bytes] = field(default_factory=set)

    def stops(self, received: Received) -> bool:
        """Whether `received` must wait too; if so, what it is about must wait from now on."""
        if self.wallets.isdisjoint(wallet_ids(received.command)) and received.key not in self.keys:
            return False
        self.add(received)
        return True

    def add(self, received: Received) -> None:
        """Park `received`."""
        self.wallets.update(wallet_ids(received.command))
        if received.key is not None:
            self.keys.add(received.key)


async def settle(engine: AsyncEngine, batch: Sequence[Received], parked: Parked) -> list[Outcome | None]:
    """Run `batch`: an outcome for each command, in order, or None where it is parked, as `parked` then says too."""
    waits = [parked.stops(received) for received in batch]
    free = [received for received, wait in zip(batch, waits, strict=True) if not wait]
    outcomes = iter(await _settle(engine, free, parked) if free else ())
    return [None if wait else next(outcomes) for wait in waits]


async def _settle(engine: AsyncEngine, batch: Sequence[Received], parked: Parked) -> Sequence[Outcome | None]:
    timeouts = conflicts = 0
    while True:
        try:
            return await until_available("postgres", lambda: _attempt(engine, batch))
        except LockTimeout:
            timeouts += 1
            if timeouts >= LOCK_TIMEOUTS_MAX:
                return await _park(engine, batch, parked)
        except Conflict as conflict:
            conflicts += 1
            log.info("batch_conflict", commands=len(batch), error=str(conflict))
            if conflicts >= (CONFLICTS_MAX if len(batch) > 1 else LONE_CONFLICTS_MAX):
                return await _halve(engine, batch, parked, conflict)
        except Fatal:
            # Nobody's fault in the batch: Postgres refuses this process.
            raise
        except Exception as error:  # noqa: BLE001 - the bisect: until a command stands alone, it may be anybody's fault
            return await _halve(engine, batch, parked, error)


async def _attempt(engine: AsyncEngine, batch: Sequence[Received]) -> Sequence[Outcome]:
    try:
        return await run_batch(engine, batch)
    except Exception as error:
        meaning = from_postgres(error)
        if meaning is None:
            raise
        raise meaning from error


async def _halve(
    engine: AsyncEngine, batch: Sequence[Received], parked: Parked, error: Exception
) -> Sequence[Outcome | None]:
    """Run the first half, then the second; a lone command is the one whose fault it is."""
    if len(batch) == 1:
        return [await _fail(engine, batch[0], error)]
    log.warning("batch_bisected", commands=len(batch), error=f"{type(error).__name__}: {error}")
    middle = len(batch) // 2
    first = await settle(engine, batch[:middle], parked)
    return [*first, *await settle(engine, batch[middle:], parked)]


async def _park(engine: AsyncEngine, batch: Sequence[Received], parked: Parked) -> Sequence[Outcome | None]:
    """Set aside what waits for somebody else's lock, and run the rest."""
    named = {wallet_id for received in batch for wallet_id in wallet_ids(received.command)}
    busy = await until_available("postgres", lambda: _find_busy(engine, named))
    if not busy and len(batch) > 1:
        # Not a wallet's lock, or gone by now: halves find out which command it is.
        return await _halve(engine, batch, parked, LockTimeout("no wallet is locked"))
    parked.wallets.update(busy or named)
    log.warning("commands_parked", wallets=sorted(busy or named), why="another transaction has locked them")
    return await settle(engine, batch, parked)


async def _find_busy(engine: AsyncEngine, named: Collection[str]) -> frozenset[str]:
    try:
        async with raw_transaction(engine) as connection:
            return await find_busy_wallets(connection, named)
    except Exception as error:
        meaning = from_postgres(error)
        if isinstance(meaning, LockTimeout | Conflict):
            # The table itself is locked, or was changed just now: they all wait.
            return frozenset(named)
        raise meaning or error from error


async def _fail(engine: AsyncEngine, received: Received, error: Exception) -> Outcome:
    """Record that a command failed for an unexpected reason."""
    command = received.command
    log.error("command_failed", command_id=command.command_id, type=command.type, exc_info=error)
    attempt, received_at = received.envelope.attempt, received.received_at
    return await settle_failure(engine, Failed(command.command_id, command, received.fingerprint, attempt, received_at))


async def settle_failure(engine: AsyncEngine, failed: Failed) -> Outcome:
    """Record that a command failed. Postgres not taking even that is an outage: the same again until it does."""

    async def record() -> Outcome:
        try:
            return await record_failure(engine, failed)
        except Exception as error:
            meaning = from_postgres(error)
            if isinstance(meaning, Fatal):
                raise meaning from error
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    return await until_available("postgres", record)

"""For Python code beside the database: each command as a call, and several of them in one transaction.

    async with WalletRepository.open(Settings.load()) as wallets:
        await wallets.transfer(source, target, "12.50")
        async with wallets.transaction() as tx:
            await tx.debit(source, "5")
            await tx.place_hold(source, hold_id, "3")

It is the worker's own way without Kafka: the same locks and decisions, the same rows, the same append. What returns is
committed in Postgres and appended to KurrentDB; otherwise a `CommandError` says what became of the command. Repeating
anything under the same `command_id` is harmless, here or over Kafka.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.contracts.calls import Asked, CommandCalls, Id
from worker.contracts.commands import Command
from worker.contracts.envelope import Envelope
from worker.contracts.replies import Reply
from worker.database import create_engine
from worker.domain.fingerprint import fingerprint
from worker.errors import Conflict, EventConcurrencyError, Fatal, NotDoneError, Unavailable
from worker.ledger.asked import accepted, read_command, read_id
from worker.ledger.batch import run_in
from worker.ledger.bounded import Progress, bounded_transaction
from worker.ledger.decide_batch import Received
from worker.ledger.interactive import begin, command_of_parts, finish
from worker.ledger.transaction import Transaction
from worker.outbox.append_direct import DirectAppends
from worker.outbox.event_store import EventStore
from worker.outbox.installation import Installation
from worker.settings import Settings

CONFLICTS_MAX = 10
"""A call that lost to another transaction is tried again: more often than this process has connections, each of which
may hold statements that were prepared before a migration."""


class WalletRepository(CommandCalls[Coroutine[Any, Any, Reply]]):
    """Wallets, beside the database. Its calls may run at the same time.

    A call returns the reply to an accepted command and raises a `RejectedError` for a refused one. As over Kafka, a
    refusal is remembered under the command's id, unless it could not be read or another transaction stood in its way.

    Cancelled before the commit, a call leaves nothing behind; cancelled in it, the same id tells; cancelled after it,
    the append goes on by itself.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        store: EventStore,
        installation: Installation,
        appends: DirectAppends,
        reply_topic: str,
    ) -> None:
        self._engine, self._store, self._installation = engine, store, installation
        self._appends = appends
        self._envelope = Envelope(reply_topic)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[WalletRepository]:
        """Open the connections to Postgres and KurrentDB, at their first use, and close them after the block.

        Until both have answered once and are found to belong together, calls raise `NotDoneError`.
        """
        engine = create_engine(settings)
        installation = Installation(engine)
        store = EventStore(settings.kurrentdb_uri.get_secret_value(), installation.check)
        appends = DirectAppends(store, engine)
        try:
            yield cls(engine, store, installation, appends, settings.reply_topic)
        finally:
            await appends.finish()
            await store.close()
            await engine.dispose()

    @asynccontextmanager
    async def transaction(self, *, command_id: Id | None = None) -> AsyncIterator[Transaction]:
        """Lend a transaction of up to 100 commands and five seconds: all of them happen when the block is left.

        A block that raises, or one of whose parts is refused, leaves nothing behind, no refusal either. To the stores
        it is an `Atomic` under `command_id`; a lone part is that command itself, and a block that asks for nothing
        does nothing.

        A block that ran before under its `command_id` is run as if for the first time, and changes nothing: its parts
        get their first outcomes. What was refused under it is raised at once; another block under it raises
        `IdempotencyConflictError`. Wallets are locked as they are named: name them in the order of their ids where it
        matters not to be sent away with `EventConcurrencyError`.
        """
        progress = Progress(read_id(command_id))
        await self._compare_stores(progress.command_id)
        with self._appends.place() as place:
            async with bounded_transaction(self._engine, progress) as connection:
                parts = await begin(connection, progress.command_id)
                tx = Transaction(progress.command_id, parts)
                progress.in_callers_code = True
                try:
                    yield tx
                    tx.raise_failure()
                finally:
                    tx.end()
                progress.in_callers_code = False
                command = command_of_parts(tx.command_id, tx.parts)
                if command is None:
                    return
                outcome = await finish(connection, self._received(command), parts)
                reply = accepted(tx.command_id, outcome)
                place.take(outcome)
            tx.reply = reply
            await self._appends.append(place, tx.command_id, outcome, reply)

    def _ask(self, asked: Asked) -> Coroutine[Any, Any, Reply]:
        return self._run(asked)

    async def _run(self, asked: Asked) -> Reply:
        """Run a command by itself, again where another transaction came first."""
        command_id = read_id(asked.command_id)
        received = self._received(read_command(asked, command_id))
        await self._compare_stores(command_id)
        conflicts = 0
        while True:
            try:
                return await self._attempt(received)
            except EventConcurrencyError as error:
                conflicts += 1
                if not isinstance(error.__cause__, Conflict) or conflicts == CONFLICTS_MAX:
                    raise

    async def _attempt(self, received: Received) -> Reply:
        command_id = received.command.command_id
        with self._appends.place() as place:
            async with bounded_transaction(self._engine, Progress(command_id)) as connection:
                (outcome,) = await run_in(connection, [received])
                place.take(outcome)
            reply = accepted(command_id, outcome)
            await self._appends.append(place, command_id, outcome, reply)
        return reply

    async def _compare_stores(self, command_id: str) -> None:
        """Raise `NotDoneError` unless the stores are known to belong together; asks them before the first call."""
        refused = self._installation.refused
        if self._installation.is_known and refused is None:
            return
        try:
            if refused is not None:
                raise refused
            await self._store.is_ready()
        except Unavailable as error:
            server = "Postgres" if error.server == "postgres" else "KurrentDB"
            message = f"{server} is away. Nothing took effect."
            raise NotDoneError(command_id, message, {"reason": str(error)}) from error
        except Fatal as error:
            message = "The stores refuse us, or do not belong together. Nothing took effect."
            raise NotDoneError(command_id, message, {"reason": str(error)}) from error

    def _received(self, command: Command) -> Received:
        """The command as if it had come from Kafka now: an expiry of its hold is answered on the reply topic."""
        return Received(command, fingerprint(command), self._envelope, datetime.now(UTC), None)

"""A group whose parts are decided one by one, while the code that asks for them runs.

Each part locks the wallets that it names, and is decided on what the parts before it did. In the end all of them are
decided once more, as the one command that they are (`finish`): what is written is what that command makes, down to the
bytes. A group that ran before is not decided: its parts get their first outcomes, and in the end it is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from worker.contracts.commands import COMMAND, Command, Part
from worker.contracts.replies import PartReply
from worker.database import RawConnection
from worker.domain.decide import decide_part, hold_ids, wallet_ids
from worker.domain.group import PartOutcome, fold, hold_named
from worker.domain.rejections import Rejected, idempotency_conflict
from worker.domain.wallet import Book, Hold, Wallet
from worker.errors import Conflict
from worker.ledger.asked import accepted
from worker.ledger.decide_batch import Outcome, Received, decide_batch
from worker.ledger.lock import fetch_holds, lock_free_wallets, lock_wallets, read_clock
from worker.ledger.persist import persist
from worker.ledger.recall import Ran, recall
from worker.ledger.reply import part_state


async def begin(connection: RawConnection, command_id: str) -> Deciding | Replaying:
    """Find out whether `command_id` ran before; raises the `RejectedError` where it was refused then."""
    ran = await recall(connection, [command_id])
    return Replaying(command_id, ran[command_id]) if ran else Deciding(connection, command_id)


def command_of_parts(command_id: str, parts: Sequence[Part]) -> Command | None:
    """The command that `parts` make: an `Atomic`, a lone part that command itself; None without parts."""
    if not parts:
        return None
    if len(parts) == 1:
        return COMMAND.validate_python({**parts[0].__dict__, "command_id": command_id})
    return COMMAND.validate_python({"type": "Atomic", "command_id": command_id, "commands": list(parts)})


async def finish(connection: RawConnection, received: Received, parts: Deciding | Replaying) -> Outcome:
    """Decide the parts as the one command that they are, and write it; the caller commits.

    A refusal (the time went on since the parts were decided) is for the caller to roll back.
    """
    decided = decide_batch([received], parts.locked, parts.ran, await read_clock(connection))
    await persist(connection, decided)
    return decided.outcomes[0]


class Deciding:
    """Parts decided for the first time, in an open transaction."""

    def __init__(self, connection: RawConnection, command_id: str) -> None:
        self.ran: Mapping[str, Ran] = {}
        self._connection = connection
        self._command_id = command_id
        self._named: set[str] = set()
        self._locked_wallets: dict[str, Wallet] = {}
        self._locked_holds: dict[str, Hold] = {}
        self._quarantined: dict[str, datetime] = {}
        self._wallets: dict[str, Wallet] = {}
        self._holds: dict[str, Hold] = {}

    @property
    def locked(self) -> Book:
        """The wallets and holds as they stood when they were locked."""
        return Book(self._locked_wallets, self._locked_holds, self._quarantined)

    async def decide(self, index: int, part: Part) -> PartReply | Rejected:
        """Lock what `part` names, decide it and remember what it does; raises what asyncpg raises."""
        await self._lock(part)
        absent = set(wallet_ids(part)) - self._locked_wallets.keys()
        now = await read_clock(self._connection, absent)
        book = Book(self._wallets, self._holds, self._quarantined)
        decision = decide_part(part, book, now)
        if isinstance(decision, Rejected):
            return await self._refuse(decision)
        fold(decision, self._wallets, self._holds, now)
        outcome = PartOutcome(part, decision, hold_named(part, book))
        return PartReply.model_validate(part_state(index, outcome))

    async def _lock(self, part: Part) -> None:
        """Lock the wallets that are named for the first time, sorted; then the part's holds can be read."""
        new = set(wallet_ids(part)) - self._named
        # Everybody locks in this order. To wait against it could close a circle.
        against = {id_ for id_ in new if id_ < max(self._locked_wallets, default="")}
        wallets: dict[str, Wallet] = {}
        for lock, ids in ((lock_free_wallets, against), (lock_wallets, new - against)):
            if ids:
                locked = await lock(self._connection, ids)
                wallets |= locked.wallets
                self._quarantined |= locked.quarantined
        holds = await fetch_holds(self._connection, set(hold_ids(part)) - self._holds.keys())
        self._named |= new
        self._locked_wallets |= wallets
        self._wallets |= wallets
        self._locked_holds |= holds
        self._holds |= holds

    async def _refuse(self, rejected: Rejected) -> Rejected:
        # The same command may have run meanwhile, and be the very reason: its locks are gone, so it can be seen now.
        if await recall(self._connection, [self._command_id]):
            raise Conflict("the same command ran at the same moment")
        return rejected


class Replaying:
    """Parts of a group that took effect before: they get their first outcomes, and nothing happens."""

    def __init__(self, command_id: str, ran: Ran) -> None:
        self.ran: Mapping[str, Ran] = {command_id: ran}
        self.locked = Book({}, {})
        self._command_id = command_id
        reply = accepted(command_id, Outcome(ran.error_code, ran.reply))
        # Of a command that is no group, itself.
        alone = PartReply(index=0, type=reply.type or "", status=reply.status, hold=reply.hold)
        self._parts = [alone] if reply.parts is None else reply.parts

    async def decide(self, index: int, part: Part) -> PartReply | Rejected:
        """What became of part number `index`; a conflict where that was something else."""
        if index >= len(self._parts) or self._parts[index].type != part.type:
            return idempotency_conflict(self._command_id)
        return self._parts[index]

"""Several commands in one transaction, asked for one by one: what `WalletRepository.transaction()` lends.

A part that was refused, or cut off, ends the transaction: the same error meets whoever asks on, and whoever leaves the
block as if nothing had happened. So what is written is all that the block asked for, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from worker.contracts.calls import Asked, WalletCalls
from worker.contracts.commands import PARTS_MAX, Part
from worker.contracts.replies import PartReply, Reply
from worker.domain.reading import invalid_command
from worker.domain.rejections import Rejected
from worker.errors import CommandError, NotDoneError
from worker.ledger.asked import read_part, refusal
from worker.ledger.bounded import as_command_error
from worker.ledger.interactive import Deciding, Replaying


class Transaction(WalletCalls[Coroutine[Any, Any, PartReply]]):
    """Each method decides its part at once, on what the parts before it did, and returns its outcome.

    Raises a `CommandError`. `reply` is the reply to the whole once the block is left; None where it asked for nothing.
    """

    def __init__(self, command_id: str, parts_in: Deciding | Replaying) -> None:
        self.command_id = command_id
        self.reply: Reply | None = None
        self.parts: list[Part] = []
        self._parts_in = parts_in
        self._turn = asyncio.Lock()
        self._failure: CommandError | None = None

    def _ask(self, asked: Asked) -> Coroutine[Any, Any, PartReply]:
        return self._take(asked)

    async def _take(self, asked: Asked) -> PartReply:
        # Parts asked for at once take turns: a connection does one thing at a time.
        async with self._turn:
            self.raise_failure()
            part = read_part(asked, self.command_id)
            self._failure = NotDoneError(self.command_id, "A part was cut off, so nothing of its transaction is done.")
            try:
                outcome = await self._decide(part)
            except CommandError as error:
                self._failure = error
                raise
            except Exception as error:
                self._failure = as_command_error(self.command_id, error)
                raise self._failure from error
            self._failure = None
            self.parts.append(part)
            return outcome

    async def _decide(self, part: Part) -> PartReply:
        if len(self.parts) == PARTS_MAX:
            reason = f"a transaction has at most {PARTS_MAX} commands"
            raise refusal(self.command_id, invalid_command("commands", reason))
        outcome = await self._parts_in.decide(len(self.parts), part)
        if isinstance(outcome, Rejected):
            raise refusal(self.command_id, outcome)
        return outcome

    def raise_failure(self) -> None:
        """Raise what ended the transaction, if anything did."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Take no more parts: the connection belongs to others now."""
        self._failure = self._failure or NotDoneError(self.command_id, "The transaction is over. This was not done.")

"""Which commands ran before, and what was answered.

Read after the locks are held: another transaction that ran one of these commands held the same locks, and is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worker.contracts.commands import Command
from worker.contracts.replies import ErrorCode
from worker.database import RawConnection
from worker.domain.fingerprint import ALWAYS_COUNTED, FINGERPRINT_FORMAT, fingerprint
from worker.ledger.formats import NewerFormat

# The last attempt of each: only `wallex dlq replay` makes more than one.
RECALL = """
SELECT DISTINCT ON (command_id)
    command_id::text, attempt, fingerprint, fingerprint_format, error_code, reply, event_wallet_ids::text[],
    event_versions
FROM commands
WHERE command_id = ANY($1::uuid[])
ORDER BY command_id, attempt DESC
"""


class Ran(NamedTuple):
    """A command that was decided before.

    `fingerprint` is of the meaning of its payload, in that format; empty where that was never read. `error_code` is
    None where it took effect. `made` are its events, as (wallet id, version), in order.
    """

    attempt: int
    fingerprint: bytes
    fingerprint_format: int
    error_code: str | None
    reply: bytes
    made: tuple[tuple[str, int], ...]

    def is_repeated_by(self, command: Command, current: bytes) -> bool:
        """Whether `command` is this one again, rather than another under the same id.

        `current` is its fingerprint in today's format.
        """
        if self.fingerprint_format != FINGERPRINT_FORMAT:
            current = fingerprint(command, self.fingerprint_format)
        return self.fingerprint in (b"", current)

    def may_run_again_as(self, attempt: int) -> bool:
        """Whether this is the next attempt of a command that failed for an unexpected reason."""
        return self.error_code == ErrorCode.INTERNAL_ERROR and attempt == self.attempt + 1


async def recall(connection: RawConnection, command_ids: Sequence[str]) -> dict[str, Ran]:
    """What is known of the commands `command_ids`: their last attempts, by id; raises `NewerFormat`."""
    known = {}
    for command_id, attempt, said, format_number, error_code, reply, wallet_ids, versions in await connection.fetch(
        RECALL, command_ids
    ):
        if format_number not in ALWAYS_COUNTED:
            raise NewerFormat(f"the command {command_id}", format_number)
        made = tuple(zip(wallet_ids, versions, strict=True))
        known[command_id] = Ran(attempt, said, format_number, error_code, reply.encode(), made)
    return known

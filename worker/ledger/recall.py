"""Which commands ran before, and what was answered.

Read after the locks are held: another transaction that ran one of these commands held the same locks, and is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worker.contracts.replies import ErrorCode
from worker.database import RawConnection

# The last attempt of each: only `wallex dlq replay` makes more than one.
RECALL = """
SELECT DISTINCT ON (command_id)
    command_id::text, attempt, fingerprint, error_code, reply, event_wallet_ids::text[], event_versions
FROM commands
WHERE command_id = ANY($1::uuid[])
ORDER BY command_id, attempt DESC
"""


class Ran(NamedTuple):
    """A command that was decided before.

    `fingerprint` is of the meaning of its payload, empty where that was never read. `error_code` is None where it took
    effect. `made` are its events, as (wallet id, version), in order.
    """

    attempt: int
    fingerprint: bytes
    error_code: str | None
    reply: bytes
    made: tuple[tuple[str, int], ...]

    def is_repeated_by(self, fingerprint: bytes) -> bool:
        """Whether a command of that meaning is this one again, rather than another under the same id."""
        return self.fingerprint in (b"", fingerprint)

    def may_run_again_as(self, attempt: int) -> bool:
        """Whether this is the next attempt of a command that failed for an unexpected reason."""
        return self.error_code == ErrorCode.INTERNAL_ERROR and attempt == self.attempt + 1


async def recall(connection: RawConnection, command_ids: Sequence[str]) -> dict[str, Ran]:
    """What is known of the commands `command_ids`: their last attempts, by id."""
    return {
        command_id: Ran(attempt, fingerprint, error_code, reply.encode(), tuple(zip(wallet_ids, versions, strict=True)))
        for command_id, attempt, fingerprint, error_code, reply, wallet_ids, versions in await connection.fetch(
            RECALL, command_ids
        )
    }

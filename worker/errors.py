"""What can go wrong besides a business "no", and what is to be done about it: one tree, one place.

    WallexError
    ├── Unavailable        a server is away, full or misconfigured: try the same again, for as long as it takes
    ├── LockTimeout        somebody sits on a row: try again, then go on without those wallets
    ├── Conflict           another transaction came first: try again; the second time alike, halve the batch
    ├── Contradiction      the stores disagree: a person has to look
    ├── BrokenRunError     events are not consecutive (a defect of ours): nothing is sent, the process ends
    ├── Fatal              this process cannot go on (a server refuses it, among others): one line, then exit
    │   └── ForeignStore       it was given a database and a KurrentDB that do not belong together
    └── CommandError       a call of `worker.repository` did not end well; it carries the command's id
        ├── RejectedError          a business "no", one class for each code; nothing took effect
        ├── NotDoneError           nothing took effect: Postgres was away, or the transaction took too long
        ├── OutcomeUnknownError    the answer to the commit was lost: repeat it under the same id, or ask for it
        └── AppendPendingError     it is done, do not repeat it: KurrentDB will have it later
            └── StoresContradictError   and it will not, before a person has looked

Anything else that comes out of a transaction is unexpected: it is a command's own fault until proven otherwise, and the
batch is halved until that command stands alone. What errors of Postgres mean stands in `postgres_errors.py`, those of
Kafka in `kafka_errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.contracts.replies import ErrorCode, Reply


class WallexError(Exception):
    """The root of all errors that this package raises itself."""


class Unavailable(WallexError):
    """A server cannot serve now. Never answered to a sender, never dead-lettered: the same is tried again."""

    server: str | None = None
    """Which one does not answer, where the error says so."""

    def __init__(self, reason: str, *, server: str | None = None) -> None:
        super().__init__(reason)
        if server is not None:
            self.server = server


class LockTimeout(WallexError):
    """A row or another transaction was waited for longer than `lock_timeout` or `statement_timeout` allow."""


class Conflict(WallexError):
    """Another transaction came first: a version moved, an id was taken, Postgres chose a victim."""


class Contradiction(WallexError):
    """The stores disagree in a way that no repeat mends."""


class BrokenRunError(WallexError):
    """Events were to be appended at revisions that are not their versions. Nothing was sent."""


class Fatal(WallexError):
    """The process cannot go on as it was started. The message says what to do."""


class ForeignStore(Fatal):
    """Postgres and KurrentDB do not belong to one installation: nothing may be written to either."""


class CommandError(WallexError):
    """A direct call did not end well. Repeating it under the same `command_id` is always harmless.

    `code` is the contract's for a rejection; `message` is for people; `details` are enough to act on.
    """

    code: str = "CommandError"

    def __init__(self, command_id: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(command_id, message, details)
        self.command_id = command_id
        self.message = message
        self.details = dict(details or {})

    def __str__(self) -> str:
        told = f" {self.details}" if self.details else ""
        return f"{self.code}: {self.message}{told} (command {self.command_id})"


class RejectedError(CommandError):
    """The command was refused for a business reason, and took no effect."""


class WalletNotFoundError(RejectedError):
    """No such wallet."""

    code = ErrorCode.WALLET_NOT_FOUND


class WalletAlreadyExistsError(RejectedError):
    """The wallet id is taken."""

    code = ErrorCode.WALLET_ALREADY_EXISTS


class WalletNotActiveError(RejectedError):
    """The wallet's status does not allow this."""

    code = ErrorCode.WALLET_NOT_ACTIVE


class WalletNotEmptyError(RejectedError):
    """Only a wallet without money and active holds can be closed."""

    code = ErrorCode.WALLET_NOT_EMPTY


class InsufficientFundsError(RejectedError):
    """More was asked than is available."""

    code = ErrorCode.INSUFFICIENT_FUNDS


class InvalidAmountError(RejectedError):
    """Not an amount: not more than 0, too large, or with more than four places."""

    code = ErrorCode.INVALID_AMOUNT


class CurrencyMismatchError(RejectedError):
    """The command speaks of another currency than the wallet's."""

    code = ErrorCode.CURRENCY_MISMATCH


class SameWalletError(RejectedError):
    """Money moves between two different wallets."""

    code = ErrorCode.SAME_WALLET


class HoldNotFoundError(RejectedError):
    """The wallet has no such hold."""

    code = ErrorCode.HOLD_NOT_FOUND


class HoldAlreadyExistsError(RejectedError):
    """The hold id was used before, in this wallet or another."""

    code = ErrorCode.HOLD_ALREADY_EXISTS


class HoldNotActiveError(RejectedError):
    """The hold ended before."""

    code = ErrorCode.HOLD_NOT_ACTIVE


class HoldExpiredError(RejectedError):
    """The time of the hold is over."""

    code = ErrorCode.HOLD_EXPIRED


class HoldNotDueError(RejectedError):
    """The hold may not expire yet, or never."""

    code = ErrorCode.HOLD_NOT_DUE


class CaptureExceedsHoldError(RejectedError):
    """More was to be captured than is reserved."""

    code = ErrorCode.CAPTURE_EXCEEDS_HOLD


class BalanceLimitExceededError(RejectedError):
    """The balance would pass the limit of a wallet."""

    code = ErrorCode.BALANCE_LIMIT_EXCEEDED


class MetadataTooLargeError(RejectedError):
    """The wallet's metadata would be too large after merging."""

    code = ErrorCode.METADATA_TOO_LARGE


class WalletQuarantinedError(RejectedError):
    """The wallet's stores contradict each other, and nobody has released it yet: nothing was done or remembered."""

    code = ErrorCode.WALLET_QUARANTINED


class EventConcurrencyError(RejectedError):
    """The wallet is at another version than expected, or another transaction has it: nothing was done, try again."""

    code = ErrorCode.EVENT_CONCURRENCY


class CommandExpiredError(RejectedError):
    """The command was decided after its `not_after`."""

    code = ErrorCode.COMMAND_EXPIRED


class IdempotencyConflictError(RejectedError):
    """The command id was used before, for something else."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class InvalidCommandError(RejectedError):
    """What was asked is no command; the details say where and why."""

    code = ErrorCode.INVALID_COMMAND


class InternalError(RejectedError):
    """It failed for an unexpected reason, which is the error's cause where it happened here."""

    code = ErrorCode.INTERNAL_ERROR


class NotDoneError(CommandError):
    """Nothing took effect: Postgres was away, or the transaction took longer than it may."""

    code = "NotDone"


class OutcomeUnknownError(CommandError):
    """The answer to the commit was lost. The same again, under the same id, tells, and never takes effect twice."""

    code = "OutcomeUnknown"


class AppendPendingError(CommandError):
    """It took effect, as `reply` says: do not repeat it. KurrentDB has not acknowledged the events yet.

    They are appended with the wallet's next event, by `wallex verify --repair`, or by a repeat under the same id.
    """

    code = "AppendPending"

    def __init__(self, reply: Reply, command_id: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(command_id, message, details)
        self.reply = reply


class StoresContradictError(AppendPendingError):
    """It took effect in Postgres, and the wallet's stream holds something else: `wallex quarantine show` says what."""

    code = "StoresContradict"


_REJECTED = {error.code: error for error in RejectedError.__subclasses__()}


def rejected_error(command_id: str, code: str, message: str, details: Mapping[str, Any]) -> RejectedError:
    """The error that says that a command was rejected with `code`."""
    return _REJECTED[code](command_id, message, details)


def not_trusted(server: str, reason: object, variables: str) -> Fatal:
    """What to say where `server` refuses our credentials, or its certificate does not verify: that passes for nobody.

    Trying again could lock the account, and what the process was started with does not change.
    """
    return Fatal(f"{server}: {reason}; check {variables}")

"""Decide a whole batch in memory: each command sees what the ones before it did. Pure.

A thousand commands on one wallet are a thousand decisions, one lock and one row. What comes out is everything that is
to be written and answered; nothing is read or awaited on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from worker.contracts.commands import Atomic, Command
from worker.contracts.envelope import Envelope
from worker.contracts.replies import ErrorCode
from worker.contracts.times import format_time
from worker.domain.decide import decide, wallet_ids
from worker.domain.facts import HoldPlaced
from worker.domain.fingerprint import FINGERPRINT_FORMAT
from worker.domain.group import decide_group, hold_named
from worker.domain.rejections import Rejected, idempotency_conflict
from worker.domain.wallet import Book, Hold, Wallet
from worker.ledger.entry import Entry, NewEvent
from worker.ledger.happen import Cause, Happened, Step, happen
from worker.ledger.recall import Ran
from worker.ledger.reply import INTERNAL_ERROR, Said, accepted_reply, rejected_reply

UNREAD = "unread"
"""What stands for the type of a command that could not be read."""


class Received(NamedTuple):
    """A readable command, and what came with it: its record's headers, Kafka timestamp and key."""

    command: Command
    fingerprint: bytes
    envelope: Envelope
    received_at: datetime
    key: bytes | None


class Failed(NamedTuple):
    """A command that failed for an unexpected reason; where it was never read, without itself and its fingerprint."""

    command_id: str
    command: Command | None
    fingerprint: bytes
    attempt: int
    received_at: datetime

    @property
    def type(self) -> str | None:
        """The type of the command, where it was read."""
        return None if self.command is None else self.command.type


class RecordedCommand(NamedTuple):
    """A row of `commands`, its columns in order."""

    command_id: str
    attempt: int
    type: str
    fingerprint: bytes
    event_wallet_ids: list[str]
    event_versions: list[int]
    error_code: str | None
    reply: str
    received_at: datetime
    fingerprint_format: int


class Outcome(NamedTuple):
    """What became of one command.

    `error_code` is None where it was accepted. `replayed`: it ran before, `reply` is its first one, and `made` are the
    events that it made then, as (wallet id, version). Otherwise `entries` are new, `events` are the same as they are
    appended, and `recorded` is what will be known of the command (None for a refusal that is not remembered).
    """

    error_code: str | None
    reply: bytes
    replayed: bool = False
    made: tuple[tuple[str, int], ...] = ()
    entries: tuple[Entry, ...] = ()
    events: tuple[NewEvent, ...] = ()
    recorded: RecordedCommand | None = None


@dataclass(slots=True)
class Decided:
    """A batch's outcomes, in order, and the book as it was locked and as it is after it.

    `placed` are the headers that each new hold's command came with: an expiry is answered there too.
    """

    now: datetime
    locked: Book
    wallets: dict[str, Wallet]
    holds: dict[str, Hold]
    ran: dict[str, Ran]
    outcomes: list[Outcome] = field(default_factory=list)
    placed: dict[str, Envelope] = field(default_factory=dict)

    @property
    def book(self) -> Book:
        """The wallets and holds as the commands so far left them."""
        return Book(self.wallets, self.holds, self.locked.quarantined)


def decide_batch(batch: Sequence[Received], locked: Book, ran: Mapping[str, Ran], now: datetime) -> Decided:
    """Decide `batch` in order, at the time `now`.

    `locked` are the wallets and holds it names, as they stand under its locks; `ran` are those of its commands that ran
    before.
    """
    decided = Decided(now, locked, dict(locked.wallets), dict(locked.holds), dict(ran))
    now_text = format_time(now)
    for received in batch:
        decided.outcomes.append(_recalled(received, decided) or _run(received, decided, now_text))
    return decided


def fail(failed: Failed, decided: Decided) -> None:
    """Give a lone command that must not be run the outcome InternalError, unless it or another one ran under its id."""
    before = decided.ran.get(failed.command_id)
    if before is not None and not before.may_run_again_as(failed.attempt):
        # One that was never read is taken for the command that ran.
        is_repeat = failed.command is None or before.is_repeated_by(failed.command, failed.fingerprint)
        outcome = _under_used_id(failed.command_id, failed.type, failed.received_at, before, is_repeat=is_repeat)
        decided.outcomes.append(outcome)
        return
    reply = rejected_reply(failed.command_id, failed.type, format_time(decided.now), INTERNAL_ERROR)
    row = RecordedCommand(
        failed.command_id,
        _attempt_after(before),
        failed.type or UNREAD,
        failed.fingerprint,
        [],
        [],
        INTERNAL_ERROR.code,
        reply.decode(),
        failed.received_at,
        FINGERPRINT_FORMAT,
    )
    decided.outcomes.append(Outcome(INTERNAL_ERROR.code, reply, recorded=row))


def _attempt_after(before: Ran | None) -> int:
    """The attempt to record: what a header says means nothing where nothing failed, and two must not both be stored."""
    return 1 if before is None else before.attempt + 1


def _recalled(received: Received, decided: Decided) -> Outcome | None:
    """The outcome of a command that ran before, in this batch or an earlier one; None where it is to be run."""
    command = received.command
    before = decided.ran.get(command.command_id)
    if before is None or before.may_run_again_as(received.envelope.attempt):
        return None
    is_repeat = before.is_repeated_by(command, received.fingerprint)
    return _under_used_id(*_who(command), received.received_at, before, is_repeat=is_repeat)


def _under_used_id(
    command_id: str, type_: str | None, received_at: datetime, before: Ran, *, is_repeat: bool
) -> Outcome:
    """The first reply to a command again; a conflict where it was another command's."""
    if is_repeat:
        return Outcome(before.error_code, before.reply, replayed=True, made=before.made)
    rejected = idempotency_conflict(command_id)
    reply = rejected_reply(command_id, type_, format_time(received_at), rejected)
    return Outcome(rejected.code, reply)


def _run(received: Received, decided: Decided, now_text: str) -> Outcome:
    """Decide a command for the first time, or again after an unexpected failure."""
    command = received.command
    if command.type == "Atomic":
        return _run_group(received, command, decided, now_text)
    decision = decide(command, decided.book, decided.now)
    if isinstance(decision, Rejected):
        now_text = _refused_at(received, decision, now_text)
        said = Said(_named(command, decided), hold=hold_named(command, decided.book))
        return _record(received, decided, decision.code, rejected_reply(*_who(command), now_text, decision, said))
    happened = _happen(received, [(command, fact) for fact in decision], decided)
    said = Said(_named(command, decided), hold=hold_named(command, decided.book))
    return _record(received, decided, None, accepted_reply(*_who(command), now_text, said), happened)


def _run_group(received: Received, command: Atomic, decided: Decided, now_text: str) -> Outcome:
    """Decide a group: all of its parts happen, or none."""
    group = decide_group(command, decided.book, decided.now)
    if group.rejected is not None:
        now_text = _refused_at(received, group.rejected, now_text)
        said = Said(_named(command, decided), parts=group.parts)
        reply = rejected_reply(*_who(command), now_text, group.rejected, said)
        return _record(received, decided, group.rejected.code, reply)
    happened = _happen(received, [(outcome.part, fact) for outcome in group.parts for fact in outcome.facts], decided)
    said = Said(_named(command, decided), parts=group.parts)
    return _record(received, decided, None, accepted_reply(*_who(command), now_text, said), happened)


def _refused_at(received: Received, rejected: Rejected, now_text: str) -> str:
    """The time of a refusal; the record's own where it is not remembered, so that a repeat says the same."""
    return format_time(received.received_at) if rejected.code == ErrorCode.WALLET_QUARANTINED else now_text


def _happen(received: Received, steps: Sequence[Step], decided: Decided) -> list[Happened]:
    command = received.command
    cause = Cause(command.command_id, received.envelope, command if command.type == "Atomic" else None)
    for _, fact in steps:
        if isinstance(fact, HoldPlaced):
            decided.placed[fact.hold_id] = received.envelope
    return happen(cause, steps, decided.wallets, decided.holds, decided.now)


def _who(command: Command) -> tuple[str, str]:
    return command.command_id, command.type


def _named(command: Command, decided: Decided) -> list[Wallet]:
    """The wallets that `command` names and that exist, as they are now."""
    return [decided.wallets[id_] for id_ in wallet_ids(command) if id_ in decided.wallets]


def _record(
    received: Received,
    decided: Decided,
    error_code: str | None,
    reply: bytes,
    happened: Sequence[tuple[Entry, NewEvent]] = (),
) -> Outcome:
    """Remember the command for those behind it in this batch, and for ever: its row in `commands`.

    A refusal because of a quarantine is not remembered: the same command may be sent again.
    """
    command = received.command
    if error_code == ErrorCode.WALLET_QUARANTINED:
        return Outcome(error_code, reply)
    attempt = _attempt_after(decided.ran.get(command.command_id))
    made = tuple((entry.wallet_id, entry.version) for entry, _ in happened)
    ran = Ran(attempt, received.fingerprint, FINGERPRINT_FORMAT, error_code, reply, made)
    decided.ran[command.command_id] = ran
    row = RecordedCommand(
        command.command_id,
        attempt,
        command.type,
        received.fingerprint,
        [wallet_id for wallet_id, _ in made],
        [version for _, version in made],
        error_code,
        reply.decode(),
        received.received_at,
        FINGERPRINT_FORMAT,
    )
    entries, events = tuple(entry for entry, _ in happened), tuple(event for _, event in happened)
    return Outcome(error_code, reply, entries=entries, events=events, recorded=row)

"""Decide a whole batch in memory: each command sees what the ones before it did. Pure.

A thousand commands on one wallet are a thousand decisions, one lock and one row. What comes out is everything that is
to be written and answered; nothing is read or awaited on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson

from worker.contracts.commands import Command
from worker.contracts.envelope import Envelope
from worker.contracts.times import format_time
from worker.domain.decide import decide, wallet_ids
from worker.domain.evolve import evolve
from worker.domain.facts import Fact, WalletCreated
from worker.domain.rejections import Rejected, idempotency_conflict
from worker.domain.wallet import NO_METADATA, Wallet
from worker.ledger.entry import Constants, Entry, NewEvent, event_id, new_event
from worker.ledger.recall import Ran
from worker.ledger.reply import INTERNAL_ERROR, accepted_reply, rejected_reply

UNREAD = "unread"
"""What stands for the type of a command that could not be read."""


@dataclass(frozen=True, slots=True)
class Received:
    """A readable command, and what came with it: its record's headers, Kafka timestamp and key."""

    command: Command
    fingerprint: bytes
    envelope: Envelope
    received_at: datetime
    key: bytes | None


class Failed(NamedTuple):
    """A command that failed for an unexpected reason; where it was never read, without a type and a fingerprint."""

    command_id: str
    type: str | None
    fingerprint: bytes
    attempt: int
    received_at: datetime


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


@dataclass(frozen=True, slots=True)
class Outcome:
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
    """A batch's outcomes, in order, and the wallets as they were locked and as they are after it."""

    now: datetime
    locked: Mapping[str, Wallet]
    wallets: dict[str, Wallet]
    ran: dict[str, Ran]
    outcomes: list[Outcome] = field(default_factory=list)


def decide_batch(
    batch: Sequence[Received], locked: Mapping[str, Wallet], ran: Mapping[str, Ran], now: datetime
) -> Decided:
    """Decide `batch` in order, at the time `now`.

    `locked` are the wallets it names, as they stand under its locks; `ran` are those of its commands that ran before.
    """
    decided = Decided(now, locked, dict(locked), dict(ran))
    now_text = format_time(now)
    for received in batch:
        decided.outcomes.append(_recalled(received, decided) or _run(received, decided, now_text))
    return decided


def fail(failed: Failed, decided: Decided) -> None:
    """Give a lone command that must not be run the outcome InternalError, unless it ran before."""
    before = decided.ran.get(failed.command_id)
    if before is not None and not before.may_run_again_as(failed.attempt):
        decided.outcomes.append(Outcome(before.error_code, before.reply, replayed=True, made=before.made))
        return
    reply = rejected_reply(failed.command_id, failed.type, format_time(decided.now), INTERNAL_ERROR)
    row = RecordedCommand(
        failed.command_id,
        failed.attempt,
        failed.type or UNREAD,
        failed.fingerprint,
        [],
        [],
        INTERNAL_ERROR.code,
        reply.decode(),
        failed.received_at,
    )
    decided.outcomes.append(Outcome(INTERNAL_ERROR.code, reply, recorded=row))


def _recalled(received: Received, decided: Decided) -> Outcome | None:
    """The outcome of a command that ran before, in this batch or an earlier one; None where it is to be run."""
    command = received.command
    before = decided.ran.get(command.command_id)
    if before is None or before.may_run_again_as(received.envelope.attempt):
        return None
    if before.is_repeated_by(received.fingerprint):
        return Outcome(before.error_code, before.reply, replayed=True, made=before.made)
    rejected = idempotency_conflict(command.command_id)
    reply = rejected_reply(command.command_id, command.type, format_time(received.received_at), rejected)
    return Outcome(rejected.code, reply)


def _run(received: Received, decided: Decided, now_text: str) -> Outcome:
    """Decide a command for the first time, or again after an unexpected failure."""
    command, wallets = received.command, decided.wallets
    decision = decide(command, wallets, decided.now)
    if isinstance(decision, Rejected):
        named = [wallets[id_] for id_ in wallet_ids(command) if id_ in wallets]
        reply = rejected_reply(command.command_id, command.type, now_text, decision, named)
        return _record(received, decided, decision.code, reply)
    happened = _happen(received, decision, decided)
    reply = accepted_reply(command.command_id, command.type, now_text, [wallets[id_] for id_ in wallet_ids(command)])
    return _record(received, decided, None, reply, happened)


def _record(
    received: Received,
    decided: Decided,
    error_code: str | None,
    reply: bytes,
    happened: Sequence[tuple[Entry, NewEvent]] = (),
) -> Outcome:
    """Remember the command for those behind it in this batch, and for ever: its row in `commands`."""
    command, attempt = received.command, received.envelope.attempt
    made = tuple((entry.wallet_id, entry.version) for entry, _ in happened)
    decided.ran[command.command_id] = Ran(attempt, received.fingerprint, error_code, reply, made)
    row = RecordedCommand(
        command_id=command.command_id,
        attempt=attempt,
        type=command.type,
        fingerprint=received.fingerprint,
        event_wallet_ids=[wallet_id for wallet_id, _ in made],
        event_versions=[version for _, version in made],
        error_code=error_code,
        reply=reply.decode(),
        received_at=received.received_at,
    )
    entries, events = tuple(entry for entry, _ in happened), tuple(event for _, event in happened)
    return Outcome(error_code, reply, entries=entries, events=events, recorded=row)


def _happen(received: Received, facts: Sequence[Fact], decided: Decided) -> list[tuple[Entry, NewEvent]]:
    """Fold `facts` into the wallets; each makes one entry, and one event of it."""
    happened = []
    for place, fact in enumerate(facts):
        wallet = evolve(decided.wallets.get(fact.wallet_id), fact, decided.now)
        decided.wallets[wallet.id] = wallet
        entry = _entry(received, fact, place, wallet)
        constants = Constants(wallet.owner_id, wallet.currency, wallet.created_at, wallet.metadata)
        happened.append((entry, new_event(entry, constants)))
    return happened


def _entry(received: Received, fact: Fact, place: int, wallet: Wallet) -> Entry:
    command, envelope = received.command, received.envelope
    if isinstance(fact, WalletCreated):
        # A wallet's first metadata is the wallet's, not the event's (contract, "Commands").
        amount, counterparty, metadata = fact.initial_balance, None, None
        wallet_metadata = wallet.metadata if wallet.metadata != NO_METADATA else None
    else:
        amount, counterparty, metadata = fact.amount, fact.counterparty_wallet_id, command.metadata
        wallet_metadata = None
    return Entry(
        wallet_id=wallet.id,
        version=wallet.version,
        event_id=event_id(command.command_id, place),
        event_type=fact.type,
        command_id=command.command_id,
        amount=amount,
        balance=wallet.balance,
        held_balance=wallet.held_balance,
        status=wallet.status,
        wallet_metadata=wallet_metadata,
        counterparty_wallet_id=counterparty,
        transfer_id=command.command_id if counterparty is not None else None,
        group_id=None,
        hold=None,
        reason=None,
        reference=command.reference,
        metadata=orjson.dumps(metadata).decode() if metadata is not None else None,
        correlation_id=envelope.correlation_text,
        traceparent=envelope.traceparent,
        occurred_at=wallet.updated_at,
    )

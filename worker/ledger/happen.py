"""Make facts happen: fold each into the wallets and holds of a batch, and write its entry and its event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import orjson

from worker.contracts.commands import Atomic, Part
from worker.contracts.envelope import Envelope
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.domain import facts
from worker.domain.evolve import evolve, evolve_hold
from worker.domain.facts import Fact, OfHold
from worker.domain.wallet import NO_METADATA, Hold, Wallet
from worker.ledger.entry import Constants, Entry, NewEvent, event_id, new_event
from worker.ledger.formats import LEDGER_FORMAT

Happened = tuple[Entry, NewEvent]
Step = tuple[Part, Fact]


class Cause(NamedTuple):
    """What made it happen: a command, the headers that it came with, and the group, if it is one."""

    command_id: str
    envelope: Envelope
    group: Atomic | None


def happen(
    cause: Cause, steps: Sequence[Step], wallets: dict[str, Wallet], holds: dict[str, Hold], now: datetime
) -> list[Happened]:
    """Fold the facts of `steps` into `wallets` and `holds`; each makes one entry, and one event of it."""
    happened = []
    for place, (part, fact) in enumerate(steps):
        wallet = evolve(wallets.get(fact.wallet_id), fact, now)
        wallets[wallet.id] = wallet
        hold = None
        if isinstance(fact, OfHold):
            hold = holds[fact.hold_id] = evolve_hold(holds.get(fact.hold_id), fact, wallet.updated_at)
        entry = _entry(cause, (part, fact), place, wallet, hold)
        constants = Constants(wallet.owner_id, wallet.currency, wallet.created_at, wallet.metadata)
        happened.append((entry, new_event(entry, constants)))
    return happened


def _entry(cause: Cause, step: Step, place: int, wallet: Wallet, hold: Hold | None) -> Entry:
    part, fact = step
    counterparty = _counterparty(fact)
    # The columns in their order: by their names a batch's entries would take three times as long to make.
    return Entry(
        wallet.id,
        wallet.version,
        event_id(cause.command_id, place),
        fact.type,
        cause.command_id,
        _amount(fact),
        wallet.balance,
        wallet.held_balance,
        wallet.status,
        _wallet_metadata(fact),
        counterparty,
        cause.command_id if counterparty is not None else None,
        cause.command_id if cause.group is not None else None,
        None if hold is None else _hold_text(hold),
        fact.reason if isinstance(fact, (facts.WalletSuspended, facts.WalletReactivated)) else None,
        part.reference,
        _metadata(part, fact, cause.group),
        cause.envelope.correlation_text,
        cause.envelope.traceparent,
        wallet.updated_at,
        LEDGER_FORMAT,
    )


def _amount(fact: Fact) -> Decimal | None:
    """The money that a fact is about; None where it moves and reserves none."""
    if isinstance(
        fact, (facts.WalletSuspended, facts.WalletReactivated, facts.WalletClosed, facts.WalletMetadataUpdated)
    ):
        return None
    return fact.amount


def _counterparty(fact: Fact) -> str | None:
    return (
        fact.counterparty_wallet_id
        if isinstance(fact, (facts.WalletDebited, facts.WalletCredited, facts.HoldCaptured))
        else None
    )


def _metadata(part: Part, fact: Fact, group: Atomic | None) -> str | None:
    """The event's metadata. That of `CreateWallet` and `UpdateMetadata` is the wallet's, a group's never is."""
    given = part.metadata
    if isinstance(fact, (facts.WalletCreated, facts.WalletMetadataUpdated)):
        given = None if group is None else group.metadata
    return None if given is None else orjson.dumps(given).decode()


def _wallet_metadata(fact: Fact) -> str | None:
    if isinstance(fact, facts.WalletCreated):
        return fact.metadata if fact.metadata != NO_METADATA else None
    return fact.metadata if isinstance(fact, facts.WalletMetadataUpdated) else None


def _hold_text(hold: Hold) -> str:
    """The whole hold as JSON text; what it does not have is left out."""
    content = {
        "holdId": hold.id,
        "status": hold.status,
        "type": hold.type,
        "amount": format_money(hold.amount),
        "capturedAmount": format_money(hold.captured_amount),
        "reference": hold.reference,
        "metadata": None if hold.metadata is None else orjson.Fragment(hold.metadata),
        "expiresAt": hold.expires_at and format_time(hold.expires_at),
        "releasedAt": hold.released_at and format_time(hold.released_at),
        "capturedAt": hold.captured_at and format_time(hold.captured_at),
        "createdAt": format_time(hold.created_at),
        "updatedAt": format_time(hold.updated_at),
    }
    return orjson.dumps({name: value for name, value in content.items() if value is not None}).decode()

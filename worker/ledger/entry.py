"""A line in the book: one event of a wallet, as a row of `ledger` and as the bytes that KurrentDB keeps.

The row is the journal: `event_data` and `event_properties` make the event's bytes from it, the first time and whenever
they are needed again, so that what is appended after a crash equals what would have been appended before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from hashlib import sha1
from typing import Any, NamedTuple

import orjson

from worker.contracts.events import CAUSATION_ID, CORRELATION_ID, EventType
from worker.contracts.money import format_money
from worker.contracts.times import format_time
from worker.ledger.formats import LEDGER_FORMATS_KNOWN, NewerFormat

# The first two bits of a UUID's ninth byte are 1 and 0, whatever the hash says.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Entry(NamedTuple):
    """A row of `ledger`, its columns in order: what happened, and the wallet's state after it.

    Texts named `metadata`, `wallet_metadata` and `hold` are JSON. `wallet_metadata` is None where the event left the
    wallet's metadata as it was. `format` says how the row, and its event, are written.
    """

    wallet_id: str
    version: int
    event_id: str
    event_type: str
    command_id: str
    amount: Decimal | None
    balance: Decimal
    held_balance: Decimal
    status: str
    wallet_metadata: str | None
    counterparty_wallet_id: str | None
    transfer_id: str | None
    group_id: str | None
    hold: str | None
    reason: str | None
    reference: str | None
    metadata: str | None
    correlation_id: str | None
    traceparent: str | None
    occurred_at: datetime
    format: int


class Constants(NamedTuple):
    """What an event carries of its wallet and the entry does not: fixed at creation, or older than the entry.

    `metadata` is the wallet's metadata as of the entry, as JSON text.
    """

    owner_id: str
    currency: str
    created_at: datetime
    metadata: str


class NewEvent(NamedTuple):
    """An event as it is appended to the stream of `wallet_id`, at the revision `version`."""

    wallet_id: str
    version: int
    event_id: str
    type: str
    data: bytes
    properties: dict[str, str]


def read_entry(columns: Iterable[Any]) -> Entry:
    """The entry in a row that was read, its columns in order; raises `NewerFormat` where it is not known here."""
    entry = Entry(*columns)
    if entry.format not in LEDGER_FORMATS_KNOWN:
        raise NewerFormat(f"version {entry.version} of wallet {entry.wallet_id}", entry.format)
    return entry


def new_event(entry: Entry, wallet: Constants) -> NewEvent:
    """The event that `entry` is."""
    return NewEvent(
        entry.wallet_id,
        entry.version,
        entry.event_id,
        entry.event_type,
        event_data(entry, wallet),
        event_properties(entry),
    )


def event_id(command_id: str, place: int) -> str:
    """The id of a command's event number `place`: UUIDv5, so that appending it again changes nothing.

    The namespace is the command id, the name the place in decimal (contract, "KurrentDB").
    """
    name = bytes.fromhex(command_id.replace("-", "")) + b"%d" % place
    text = sha1(name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def event_data(entry: Entry, wallet: Constants) -> bytes:
    """The event's data: JSON in camelCase, its facts before the wallet's state after it."""
    data: dict[str, Any] = {
        "walletId": entry.wallet_id,
        "version": entry.version,
        "occurredAt": format_time(entry.occurred_at),
    }
    if entry.amount is not None:
        name = "initialBalance" if entry.event_type == EventType.WALLET_CREATED else "amount"
        data[name] = format_money(entry.amount)
    if entry.counterparty_wallet_id is not None:
        data["counterpartyWalletId"] = entry.counterparty_wallet_id
    if entry.transfer_id is not None:
        data["transferId"] = entry.transfer_id
    if entry.group_id is not None:
        data["groupId"] = entry.group_id
    if entry.hold is not None:
        data["hold"] = orjson.Fragment(entry.hold)
    if entry.reason is not None:
        data["reason"] = entry.reason
    if entry.reference is not None:
        data["reference"] = entry.reference
    if entry.metadata is not None:
        data["metadata"] = orjson.Fragment(entry.metadata)
    data["ownerId"] = wallet.owner_id
    data["currency"] = wallet.currency
    data["status"] = entry.status
    data["balance"] = format_money(entry.balance)
    data["heldBalance"] = format_money(entry.held_balance)
    data["walletMetadata"] = orjson.Fragment(wallet.metadata)
    data["createdAt"] = format_time(wallet.created_at)
    return orjson.dumps(data)


def event_properties(entry: Entry) -> dict[str, str]:
    """The event's metadata: where it comes from."""
    properties = {CAUSATION_ID: entry.command_id}
    if entry.correlation_id is not None:
        properties[CORRELATION_ID] = entry.correlation_id
    if entry.traceparent is not None:
        properties["traceparent"] = entry.traceparent
    return properties

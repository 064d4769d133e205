"""An event becomes documents: pure, so that the same event always makes the same document.

Each event carries the wallet's state after it, so a document is made from one event alone, and of several events for
one document only the last counts: writing just that one equals writing them all in order. A document's version is the
event's revision + 1, so that Elasticsearch refuses what is older than what it has, and a repeat changes nothing.
Relies on the contract ("KurrentDB", "Elasticsearch"): what an event must carry and does not is an `UnreadableEvent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import orjson

from worker.contracts.events import CAUSATION_ID, CORRELATION_ID, EventType, stream_name
from worker.errors import Contradiction

MINOR_UNITS = 10_000
"""Ten-thousandths in one unit of money."""
Result = TypeVar("Result")
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)

WALLET_EVENT_TYPES = frozenset(EventType)
"""What may stand in a wallet's stream; any other type is not ours to read."""

HOLD_TYPES = frozenset(
    {EventType.HOLD_PLACED, EventType.HOLD_RELEASED, EventType.HOLD_CAPTURED, EventType.HOLD_EXPIRED}
)
"""Those that carry the whole hold as it is after them."""

STATEMENT_TYPES = HOLD_TYPES | {EventType.WALLET_CREATED, EventType.WALLET_CREDITED, EventType.WALLET_DEBITED}
"""Those that move or reserve money: each is a line of the statement."""


class UnreadableEvent(Contradiction):
    """A wallet's event is not what the contract says; the message names it by stream and revision."""


class RecordedEvent(NamedTuple):
    """An event as KurrentDB holds it: `data` and `metadata` are its bytes, untouched."""

    id: str
    type: str
    stream: str
    revision: int
    commit_position: int
    data: bytes
    metadata: bytes


class Event(NamedTuple):
    """A wallet's event, read: `data` holds its facts and the state after it, `metadata` where it came from."""

    id: str
    type: str
    revision: int
    data: dict[str, Any]
    metadata: dict[str, Any]


def read_event(recorded: RecordedEvent) -> Event:
    """Read the JSON of `recorded` and hold it against where it stands: `UnreadableEvent` if it is another's."""
    try:
        data = orjson.loads(recorded.data)
        metadata = orjson.loads(recorded.metadata or b"{}")
        stands = (stream_name(data["walletId"]), data["version"])
        has_offset = datetime.fromisoformat(data["occurredAt"]).tzinfo is not None
    except _MALFORMED as error:
        raise _unreadable(recorded.id, recorded.stream, recorded.revision, repr(error)) from error
    if stands != (recorded.stream, recorded.revision):
        reason = f"it speaks of version {stands[1]} in {stands[0]}"
        raise _unreadable(recorded.id, recorded.stream, recorded.revision, reason)
    if not has_offset or (recorded.type == EventType.WALLET_CREATED) != (recorded.revision == 0):
        reason = "a wallet is created at revision 0 and nowhere else, at a time with an offset"
        raise _unreadable(recorded.id, recorded.stream, recorded.revision, reason)
    return Event(recorded.id, recorded.type, recorded.revision, data, metadata)


def last_of_each(key: Callable[[Event], str | None], events: Iterable[Event]) -> dict[str, Event]:
    """For each document that `events` change, by its id, the last of the events that change it."""
    return {document_id: event for event in events if (document_id := apply(key, event)) is not None}


def apply(function: Callable[[Event], Result], event: Event) -> Result:
    """What `function` makes of `event`: `UnreadableEvent` if it lacks what the contract says it has."""
    try:
        return function(event)
    except _MALFORMED as error:
        raise _unreadable(event.id, stream_name(event.data["walletId"]), event.revision, repr(error)) from error


def document_bytes(document: Callable[[Event], dict[str, Any]], event: Event) -> bytes:
    """The JSON of the document that `document` makes of `event`; `UnreadableEvent` where it has none."""
    return apply(lambda one: orjson.dumps(document(one)), event)


def _unreadable(event_id: str, stream: str, revision: int, reason: str) -> UnreadableEvent:
    return UnreadableEvent(
        f"event {event_id}, revision {revision} of {stream}, is not what the contract says an event is: {reason}"
    )


def wallet_key(event: Event) -> str:
    """The id of the wallet's document, which every event changes."""
    return str(event.data["walletId"])


def wallet_document(event: Event) -> dict[str, Any]:
    """The wallet as it is after `event`."""
    data = event.data
    return {
        "walletId": data["walletId"],
        "version": event.revision,
        "ownerId": data["ownerId"],
        "currency": data["currency"],
        "status": data["status"],
        **_balances(data),
        "metadata": data["walletMetadata"],
        "createdAt": data["createdAt"],
        "updatedAt": data["occurredAt"],
    }


def hold_key(event: Event) -> str | None:
    """The id of the hold that `event` changes; None where it changes none."""
    return str(event.data["hold"]["holdId"]) if event.type in HOLD_TYPES else None


def hold_document(event: Event) -> dict[str, Any]:
    """The hold as it is after `event`; `version` is its wallet's."""
    data, hold = event.data, event.data["hold"]
    return {
        "holdId": hold["holdId"],
        "walletId": data["walletId"],
        "version": event.revision,
        "ownerId": data["ownerId"],
        "currency": data["currency"],
        "status": hold["status"],
        "type": hold["type"],
        **_money("amount", _minor(hold["amount"])),
        **_money("capturedAmount", _minor(hold["capturedAmount"])),
        "reference": hold.get("reference"),
        "metadata": hold.get("metadata"),
        "expiresAt": hold.get("expiresAt"),
        "releasedAt": hold.get("releasedAt"),
        "capturedAt": hold.get("capturedAt"),
        "createdAt": hold["createdAt"],
        "updatedAt": hold["updatedAt"],
    }


def statement_key(event: Event) -> str | None:
    """The id of the statement's line that `event` is; None where it is no line: no money moved or was reserved."""
    if event.type not in STATEMENT_TYPES:
        return None
    return event.id if _minor(_amount(event)) > 0 else None


def statement_document(event: Event) -> dict[str, Any]:
    """The line of the statement that `event` is: what moved, and the balances after it."""
    data = event.data
    hold = data.get("hold")
    return {
        "walletId": data["walletId"],
        "eventId": event.id,
        "version": event.revision,
        "eventType": event.type,
        **_money("amount", _minor(_amount(event))),
        **_balances(data),
        "currency": data["currency"],
        "ownerId": data["ownerId"],
        "counterpartyWalletId": data.get("counterpartyWalletId"),
        "transferId": data.get("transferId"),
        "groupId": data.get("groupId"),
        "holdId": hold["holdId"] if hold else None,
        "reference": data.get("reference"),
        "metadata": data.get("metadata"),
        "commandId": event.metadata.get(CAUSATION_ID),
        "correlationId": event.metadata.get(CORRELATION_ID),
        "occurredAt": data["occurredAt"],
    }


def _amount(event: Event) -> str:
    return str(event.data["initialBalance" if event.type == EventType.WALLET_CREATED else "amount"])


def _balances(data: dict[str, Any]) -> dict[str, Any]:
    balance, held = _minor(data["balance"]), _minor(data["heldBalance"])
    return {
        **_money("balance", balance),
        **_money("heldBalance", held),
        **_money("availableBalance", balance - held),
    }


def _money(name: str, minor: int) -> dict[str, Any]:
    """Money as exact text, with its ten-thousandths beside it."""
    whole, places = divmod(minor, MINOR_UNITS)
    return {name: f"{whole}.{places:04}", f"{name}Minor": minor}


def _minor(text: str) -> int:
    """The ten-thousandths of `text`, which in an event always has four places."""
    whole, _, places = text.partition(".")
    if len(places) != 4:
        raise ValueError(f"{text!r}, expected money with four places")
    return int(whole) * MINOR_UNITS + int(places)

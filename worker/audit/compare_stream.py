"""A wallet's stream in KurrentDB held against the events that its ledger makes: ids, types, every byte. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from worker.audit.fields import read_object, unequal
from worker.audit.part import Folded, Lacking, Part, Stream
from worker.audit.report import NONE, Difference, Kind, Store
from worker.contracts.events import CAUSATION_ID, CORRELATION_ID
from worker.ledger.entry import NewEvent
from worker.projection.document import RecordedEvent

_OURS = frozenset({CAUSATION_ID, CORRELATION_ID})


def compare_stream(part: Part, events: Sequence[NewEvent], folded: Folded, lacking: Lacking) -> Iterator[Difference]:
    """Where the stream differs from `events`, those of the part; what it only lacks at its end goes to `lacking`."""
    if part.stream is None:
        return
    hidden_by = part.stream.standing.hidden_by
    if hidden_by is not None and part.is_last and part.newest >= 0:
        yield Difference(part.wallet_id, Store.KURRENTDB, "what hides events of the stream", NONE, hidden_by)
    recorded = {event.revision: event for event in part.stream.events}
    for event in events:
        found = recorded.pop(event.version, None)
        if found is not None:
            yield from _compare_event(event, found)
        elif event.version <= part.settled:
            yield _missing(part.stream, event)
            lacking.events.append(event)
    for revision, extra in sorted(recorded.items()):
        if is_surplus(part, revision, folded):
            yield Difference(part.wallet_id, Store.KURRENTDB, f"revision {revision}", NONE, f"{extra.type} {extra.id}")


def _missing(stream: Stream, event: NewEvent) -> Difference:
    """An event behind the end of the stream only waits to be appended; before it, or in a deleted one, it is lost."""
    lags = event.version > stream.standing.revision and not stream.standing.is_cut
    return Difference(
        event.wallet_id,
        Store.KURRENTDB,
        f"revision {event.version}",
        f"{event.type} {event.event_id}",
        "none: deleted, or hidden by the stream's metadata" if stream.standing.is_cut else NONE,
        Kind.LAGS if lags else Kind.CONTRADICTS,
    )


def is_surplus(part: Part, version: int, folded: Folded) -> bool:
    """Whether something at `version`, of which this part has no entry, should not be: not if it is only newer."""
    return version <= folded.version or version > part.newest


def _compare_event(expected: NewEvent, found: RecordedEvent) -> Iterator[Difference]:
    wanted: dict[str, Any] = {"id": expected.event_id, "type": expected.type}
    stands: dict[str, Any] = {"id": found.id, "type": found.type}
    if found.data != expected.data:
        fields, found_fields = read_object(expected.data), read_object(found.data)
        if fields == found_fields:
            # The same JSON in other bytes: spaces, or keys in another order.
            fields, found_fields = {"bytes": expected.data.decode()}, {"bytes": found.data.decode(errors="replace")}
        wanted |= fields
        stands |= found_fields
    wanted |= expected.properties
    stands |= own_properties(found.metadata)
    for what, one, other in unequal(wanted, stands):
        where = f"revision {found.revision} {what}"
        yield Difference(expected.wallet_id, Store.KURRENTDB, where, one, other)


def own_properties(metadata: bytes) -> dict[str, Any]:
    """An event's metadata without the keys that the server adds (contract, "KurrentDB")."""
    return {name: value for name, value in read_object(metadata).items() if name in _OURS or not name.startswith("$")}

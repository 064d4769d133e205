"""A wallet's document and the lines of its statement held against the events that its ledger makes. Pure.

A document says itself which event it was made from: it must be exactly what that event makes, under the external
version that belongs to it. An older event than the settled one means that the document is only behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from worker.audit.compare_stream import is_surplus
from worker.audit.documents import NO_VERSION, Document
from worker.audit.fields import unequal
from worker.audit.part import Folded, Lacking, Part
from worker.audit.report import NONE, Difference, Kind, Store, show
from worker.projection.document import Event, UnreadableEvent, apply, statement_document, statement_key, wallet_document
from worker.projection.index import STATEMENT, WALLETS


def compare_document(part: Part, events: Sequence[Event], folded: Folded, lacking: Lacking) -> Iterator[Difference]:
    """Where the wallet's document differs; behind, the event that it is to be made from goes to `lacking`."""
    what, version, document = f"{WALLETS.alias} document", folded.version, part.document
    made_from = -1 if document is None else document.key[1]
    settled = min(part.settled, version)
    if made_from < part.settled:
        lacking.add(WALLETS, [event for event in events if event.revision == part.settled])
    if part.is_last:
        yield from _compare_version(part, what, settled, folded)
    if document is None:
        return
    for event in events:
        # One that claims to be made from an event that is not there is held against the last.
        if event.revision == made_from or (part.is_last and event.revision == version and made_from > part.newest):
            yield from compare_fields(part, what, document, event, wallet_document)


def _compare_version(part: Part, what: str, settled: int, folded: Folded) -> Iterator[Difference]:
    """Whether the wallet's document was made from an event between the settled and the newest one."""
    if part.document is None:
        if settled >= 0:
            yield in_search(part, what, f"version {folded.version}", NONE, Kind.LAGS)
        return
    made_from = part.document.key[1]
    if made_from < settled:
        kind = Kind.CONTRADICTS if made_from == NO_VERSION else Kind.LAGS
        yield in_search(part, f"{what} version", folded.version, made_from, kind)
    elif made_from > part.newest:
        yield in_search(part, f"{what} version", folded.version if folded.wallet else NONE, made_from)


def compare_lines(part: Part, events: Sequence[Event], folded: Folded, lacking: Lacking) -> Iterator[Difference]:
    """Where the lines of the statement differ; the events of missing ones go to `lacking`."""
    lines = {line.id: line for line in part.lines}
    for event in events:
        if not _is_line(event):
            continue
        what = f"{STATEMENT.alias} document {event.id}"
        line = lines.pop(event.id, None)
        if line is not None:
            yield from compare_fields(part, what, line, event, statement_document)
        elif event.revision <= part.settled:
            yield in_search(part, what, f"{event.type} version {event.revision}", NONE, Kind.LAGS)
            lacking.add(STATEMENT, [event])
    for line in lines.values():
        if is_surplus(part, line.key[1], folded):
            yield in_search(part, f"{STATEMENT.alias} document {line.id}", NONE, f"version {line.key[1]}")


def compare_fields(
    part: Part, what: str, found: Document, event: Event, make: Callable[[Event], dict[str, Any]]
) -> Iterator[Difference]:
    """Where the document `found` is not what `make` makes of `event`."""
    try:
        expected = apply(make, event)
    except UnreadableEvent:
        # Of an entry that nobody can have written no document can be made: the fold of the ledger says so.
        return
    wanted = {**expected, "_version": expected["version"] + 1}
    stands = {**found.source, "_version": found.version}
    for name, one, other in unequal(wanted, stands):
        # The version itself is spoken of where it is too low or too high.
        if name != "version":
            yield in_search(part, f"{what} {name}", one, other)


def in_search(part: Part, what: str, expected: object, found: object, kind: Kind = Kind.CONTRADICTS) -> Difference:
    """A difference in Elasticsearch."""
    return Difference(part.wallet_id, Store.ELASTICSEARCH, what, show(expected), show(found), kind)


def _is_line(event: Event) -> bool:
    try:
        return apply(statement_key, event) is not None
    except UnreadableEvent:
        return False

"""The holds of a wallet held against its ledger: their rows in Postgres, their documents in Elasticsearch. Pure.

A hold has two events at most: one places it, one ends it, perhaps many pages later. So what is kept between the parts
of a wallet are its active holds alone. An ended one is compared where it ends, the others where the ledger ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from worker.audit.compare_documents import compare_fields, in_search
from worker.audit.compare_stream import is_surplus
from worker.audit.documents import Document
from worker.audit.fold_hold import compare_hold, compare_hold_row, hold_of
from worker.audit.part import Folded, Lacking, Part, Reserved
from worker.audit.report import NONE, Difference, Kind
from worker.contracts.status import HoldStatus
from worker.domain.wallet import Hold
from worker.projection.document import Event, hold_document
from worker.projection.index import HOLDS


def compare_holds(part: Part, events: Sequence[Event], folded: Folded, lacking: Lacking) -> Iterator[Difference]:
    """Where the holds differ; the events of missing documents, or of old ones, go to `lacking`.

    `events` are those of the part, one for each entry. Brings `folded.reserved` from
    where it was before the part to where it is after it.
    """
    documents = {(document.id, document.key[1]): document for document in part.hold_documents}
    for entry, event in zip(part.entries, events, strict=True):
        hold = hold_of(entry)
        if hold is None:
            continue
        placed = folded.reserved.pop(hold.id, None)
        yield from compare_hold(entry, hold, placed and placed.hold)
        document = documents.pop((hold.id, entry.version), None)
        if document is not None:
            yield from compare_fields(part, _what(hold), document, event, hold_document)
        now = Reserved(hold, event, part.hold_rows.get(hold.id), document)
        if hold.status is HoldStatus.ACTIVE:
            folded.reserved[hold.id] = now
        else:
            yield from _compare_ended(part, placed, now, lacking)
    if part.is_last:
        yield from _compare_active(part, folded.reserved.values(), documents.values(), lacking)
    for document in documents.values():
        if is_surplus(part, document.key[1], folded):
            yield in_search(part, f"{HOLDS.alias} document {document.id}", NONE, f"version {document.key[1]}")


def _compare_ended(part: Part, placed: Reserved | None, ended: Reserved, lacking: Lacking) -> Iterator[Difference]:
    """A hold at its end: its row is final, and so is its document, which may still be the one of its beginning."""
    yield from compare_hold_row(part.wallet_id, ended.hold, ended.row)
    if ended.document is not None:
        return
    if ended.event.revision <= part.settled:
        lacking.add(HOLDS, [ended.event])
        yield _behind(part, ended, placed and placed.document)
    elif placed is not None and placed.document is None and placed.event.revision <= part.settled:
        lacking.add(HOLDS, [placed.event])
        yield _behind(part, placed, None)


def _compare_active(
    part: Part, reserved: Iterable[Reserved], others: Iterable[Document], lacking: Lacking
) -> Iterator[Difference]:
    """The holds that are active at the ledger's end. Another document may be of an end that came while we looked."""
    there = {document.id for document in others}
    for one in reserved:
        yield from compare_hold_row(part.wallet_id, one.hold, one.row)
        if one.document is None and one.hold.id not in there and one.event.revision <= part.settled:
            lacking.add(HOLDS, [one.event])
            yield _behind(part, one, None)


def _behind(part: Part, expected: Reserved, found: Document | None) -> Difference:
    version = f"version {expected.event.revision}"
    return in_search(part, _what(expected.hold), version, f"version {found.key[1]}" if found else NONE, Kind.LAGS)


def _what(hold: Hold) -> str:
    return f"{HOLDS.alias} document {hold.id}"

"""One wallet, or a stretch of it, held against its ledger in every store. Pure.

The ledger is the measure: it is folded with the same `evolve` that decides balances, its entries are made into events
again, those into documents, and each store must hold exactly that. What is behind is told from what is wrong: a store
may lack what is newer than `settled`, but what it has must be right, at whatever version.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from worker.audit.compare_documents import compare_document, compare_lines
from worker.audit.compare_holds import compare_holds
from worker.audit.compare_stream import compare_stream
from worker.audit.fold import compare_row, fold
from worker.audit.part import Compared, Folded, Lacking, Part
from worker.audit.report import Difference, Store
from worker.ledger.entry import Constants, NewEvent, new_event
from worker.projection.document import Event


def compare(part: Part, before: Folded) -> Compared:
    """Compare a part, where the fold of what comes before it in the ledger is `before`."""
    wallet, events = before.wallet, []
    differences = list(_unlisted(part))
    for entry in part.entries:
        wallet, wrong = fold(wallet, entry, part.row)
        differences += wrong
        if part.row is not None:
            constants = Constants(part.row.owner_id, part.row.currency, wallet.created_at, wallet.metadata)
            events.append(new_event(entry, constants))
    folded, lacking = Folded(wallet, dict(before.reserved)), Lacking()
    if part.is_last:
        differences += compare_row(part.wallet_id, part.row, wallet)
    if part.row is not None or not part.entries:
        read = list(map(_read, events))
        differences += compare_stream(part, events, folded, lacking)
        differences += compare_document(part, read, folded, lacking)
        differences += compare_lines(part, read, folded, lacking)
        differences += compare_holds(part, read, folded, lacking)
    documents = len(part.lines) + len(part.hold_documents) + (part.is_last and part.document is not None)
    return Compared(part.wallet_id, folded, events, documents, part.is_last, differences, lacking)


def _unlisted(part: Part) -> Iterator[Difference]:
    for entry in part.entries:
        if (entry.wallet_id, entry.version) in part.unlisted:
            found = f"a row of commands that does not list it, or none, for {entry.command_id}"
            yield Difference(part.wallet_id, Store.POSTGRES, f"ledger {entry.version}", "listed by its command", found)


def _read(event: NewEvent) -> Event:
    return Event(event.event_id, event.type, event.version, orjson.loads(event.data), dict(event.properties))

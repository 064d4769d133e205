"""One wallet, or a stretch of it, held against its ledger in every store. Pure.

The ledger is the measure: it is folded with the same `evolve` that decides balances, its entries are made into events
again, those into documents, and each store must hold exactly that. What is behind is told from what is wrong: a store
may lack what is newer than `settled`, but what it has must be right, at whatever version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from worker.audit.documents import Document
from worker.audit.fold import compare_row, fold
from worker.audit.ledger_pages import Key
from worker.audit.report import NONE, Difference, Store, show
from worker.contracts.events import CAUSATION_ID, CORRELATION_ID
from worker.domain.wallet import Wallet
from worker.ledger.entry import Constants, Entry, NewEvent, new_event
from worker.projection.document import Event, RecordedEvent, statement_document, statement_key, wallet_document

_OURS = frozenset({CAUSATION_ID, CORRELATION_ID})
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Part:
    """What the stores hold of a wallet, for a stretch of its ledger.

    `is_last`: the stretch reaches the ledger's end, and `row` belongs to it. `document` is the wallet's, `lines` are
    those of the statement. `stream` are the events at the stretch's revisions and behind its end; None: not read.
    `settled` is the version that every store must have reached, `newest` the one beyond which none may be.
    """

    wallet_id: str
    entries: Sequence[Entry]
    unlisted: frozenset[Key]
    is_last: bool
    row: Wallet | None
    document: Document | None
    lines: Sequence[Document]
    stream: Sequence[RecordedEvent] | None
    settled: int
    newest: int


class Compared(NamedTuple):
    """The wallet as its ledger says after the part, the part's events made again, and what differs.

    `documents` is how many were compared, the wallet's own with its last part.
    """

    wallet_id: str
    wallet: Wallet | None
    events: list[NewEvent]
    documents: int
    is_last: bool
    differences: list[Difference]


def compare(part: Part, before: Wallet | None) -> Compared:
    """Compare a part, where the fold of what comes before it in the ledger is `before`."""
    wallet, events = before, []
    differences = list(_unlisted(part))
    for entry in part.entries:
        wallet, wrong = fold(wallet, entry, part.row)
        differences += wrong
        if part.row is not None:
            constants = Constants(part.row.owner_id, part.row.currency, wallet.created_at, wallet.metadata)
            events.append(new_event(entry, constants))
    if part.is_last:
        differences += compare_row(part.wallet_id, part.row, wallet)
    if part.row is not None or not part.entries:
        differences += _compare_stream(part, events, wallet)
        differences += _compare_document(part, events, wallet)
        differences += _compare_lines(part, events, wallet)
    documents = len(part.lines) + (part.is_last and part.document is not None)
    return Compared(part.wallet_id, wallet, events, documents, part.is_last, differences)


def _unlisted(part: Part) -> Iterator[Difference]:
    for entry in part.entries:
        if (entry.wallet_id, entry.version) in part.unlisted:
            found = f"a row of commands that does not list it, or none, for {entry.command_id}"
            yield Difference(part.wallet_id, Store.POSTGRES, f"ledger {entry.version}", "listed by its command", found)


def _compare_stream(part: Part, events: Sequence[NewEvent], wallet: Wallet | None) -> Iterator[Difference]:
    if part.stream is None:
        return
    recorded = {event.revision: event for event in part.stream}
    for event in events:
        found = recorded.pop(event.version, None)
        if found is not None:
            yield from _compare_event(event, found)
        elif event.version <= part.settled:
            expected = f"{event.type} {event.event_id}"
            yield Difference(part.wallet_id, Store.KURRENTDB, f"revision {event.version}", expected, NONE)
    for revision, extra in sorted(recorded.items()):
        if _is_surplus(part, revision, wallet):
            yield Difference(part.wallet_id, Store.KURRENTDB, f"revision {revision}", NONE, f"{extra.type} {extra.id}")


def _compare_event(expected: NewEvent, found: RecordedEvent) -> Iterator[Difference]:
    wanted: dict[str, Any] = {"id": expected.event_id, "type": expected.type}
    stands: dict[str, Any] = {"id": found.id, "type": found.type}
    if found.data != expected.data:
        fields, found_fields = _read_object(expected.data), _read_object(found.data)
        if fields == found_fields:
            # The same JSON in other bytes: spaces, or keys in another order.
            fields, found_fields = {"bytes": expected.data.decode()}, {"bytes": found.data.decode(errors="replace")}
        wanted |= fields
        stands |= found_fields
    wanted |= expected.properties
    stands |= own_properties(found.metadata)
    for what, one, other in _unequal(wanted, stands):
        where = f"revision {found.revision} {what}"
        yield Difference(expected.wallet_id, Store.KURRENTDB, where, one, other)


def own_properties(metadata: bytes) -> dict[str, Any]:
    """An event's metadata without the keys that the server adds (contract, "KurrentDB")."""
    return {name: value for name, value in _read_object(metadata).items() if name in _OURS or not name.startswith("$")}


def _compare_document(part: Part, events: Sequence[NewEvent], wallet: Wallet | None) -> Iterator[Difference]:
    document = part.document
    version = -1 if wallet is None else wallet.version
    if document is None:
        if part.is_last and wallet is not None and part.settled >= 0:
            yield _in_search(part, "wallets document", f"version {version}", NONE)
        return
    made_from = document.key[1]
    if part.is_last and made_from < min(part.settled, version):
        yield _in_search(part, "wallets document version", version, made_from)
    elif part.is_last and made_from > part.newest:
        yield _in_search(part, "wallets document version", version if wallet else NONE, made_from)
    for event in events:
        # One that claims to be made from an event that is not there is held against the last.
        if event.version == made_from or (part.is_last and event.version == version and made_from > part.newest):
            yield from _compare_fields(part, "wallets document", document, wallet_document(_read(event)), event)


def _compare_lines(part: Part, events: Sequence[NewEvent], wallet: Wallet | None) -> Iterator[Difference]:
    lines = {line.id: line for line in part.lines}
    for event in map(_read, events):
        if statement_key(event) is None:
            continue
        line = lines.pop(event.id, None)
        what = f"wallet-ledger document {event.id}"
        if line is not None:
            yield from _compare_fields(part, what, line, statement_document(event), event)
        elif event.revision <= part.settled:
            yield _in_search(part, what, f"{event.type} version {event.revision}", NONE)
    for line in lines.values():
        if _is_surplus(part, line.key[1], wallet):
            yield _in_search(part, f"wallet-ledger document {line.id}", NONE, f"version {line.key[1]}")


def _is_surplus(part: Part, version: int, wallet: Wallet | None) -> bool:
    """Whether something at `version`, of which this part has no entry, should not be: not if it is only newer."""
    return version <= (-1 if wallet is None else wallet.version) or version > part.newest


def _compare_fields(
    part: Part, what: str, found: Document, expected: Mapping[str, Any], event: Event | NewEvent
) -> Iterator[Difference]:
    wanted = {**expected, "_version": expected["version"] + 1}
    stands = {**found.source, "_version": found.version}
    for name, one, other in _unequal(wanted, stands):
        # The version itself is spoken of where it is too low or too high.
        if name != "version":
            yield _in_search(part, f"{what} {name}", one, other)


def _unequal(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if expected == found:
        return
    for name in [*expected, *(name for name in found if name not in expected)]:
        one, other = expected.get(name, _MISSING), found.get(name, _MISSING)
        if one != other:
            yield name, _show_json(one), _show_json(other)


def _show_json(value: object) -> str:
    if value is _MISSING:
        return NONE
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _in_search(part: Part, what: str, expected: object, found: object) -> Difference:
    return Difference(part.wallet_id, Store.ELASTICSEARCH, what, show(expected), show(found))


def _read(event: NewEvent) -> Event:
    return Event(event.event_id, event.type, event.version, orjson.loads(event.data), dict(event.properties))


def _read_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`; what is not one is shown as it is."""
    try:
        content = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        content = None
    return content if isinstance(content, dict) else {"unreadable": text.decode(errors="replace")}

"""What a comparison takes and gives: a part of a wallet as the stores hold it, and what came of comparing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.audit.documents import Document
from worker.audit.ledger_pages import Key
from worker.audit.report import Difference
from worker.audit.streams import Standing
from worker.domain.wallet import Hold, Wallet
from worker.ledger.entry import Entry, NewEvent
from worker.projection.document import Event, RecordedEvent
from worker.projection.index import Projection


@dataclass(frozen=True, slots=True)
class Stream:
    """The events at the revisions of a part, and behind its end where it is the last, and where the stream stands."""

    events: Sequence[RecordedEvent]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Part:
    """What the stores hold of a wallet, for a stretch of its ledger.

    `is_last`: the stretch reaches the ledger's end, and `row` belongs to it. `hold_rows` are the rows of the holds that
    the entries name. `document` is the wallet's, `lines` are those of the statement, `hold_documents` those of holds.
    `stream` is None where it was not read. `settled` is the version that every store must have reached, `newest` the
    one beyond which none may be.
    """

    wallet_id: str
    entries: Sequence[Entry]
    unlisted: frozenset[Key]
    is_last: bool
    row: Wallet | None
    hold_rows: Mapping[str, Hold]
    document: Document | None
    lines: Sequence[Document]
    hold_documents: Sequence[Document]
    stream: Stream | None
    settled: int
    newest: int


class Reserved(NamedTuple):
    """A hold as its last event so far left it: the event, and the row and the document that were found beside it."""

    hold: Hold
    event: Event
    row: Hold | None
    document: Document | None


@dataclass(slots=True)
class Folded:
    """A wallet as its ledger says so far, with the holds that are active then, by id."""

    wallet: Wallet | None = None
    reserved: dict[str, Reserved] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The last version that was folded, -1 where there is none."""
        return -1 if self.wallet is None else self.wallet.version


@dataclass(slots=True)
class Lacking:
    """What the stores have yet to get, up to the settled version.

    Events of the stream; and for each of `PROJECTIONS`, by its alias, the events whose documents are missing or old.
    """

    events: list[NewEvent] = field(default_factory=list)
    documents: dict[str, list[Event]] = field(default_factory=dict)

    def add(self, projection: Projection, events: Sequence[Event]) -> None:
        """The projection lacks the documents of `events`."""
        if events:
            self.documents.setdefault(projection.alias, []).extend(events)


class Compared(NamedTuple):
    """The wallet as its ledger says after the part, the part's events made again, and what differs.

    `documents` is how many were compared, the wallet's own with its last part.
    """

    wallet_id: str
    folded: Folded
    events: list[NewEvent]
    documents: int
    is_last: bool
    differences: list[Difference]
    lacking: Lacking

"""Events in a wallet's stream that are not ours: told in the log, counted, and passed over.

Anybody who may append to KurrentDB may put one there, and no repeat mends it: a projector that ended by it would end
again at each start. That wallet's stream contradicts its ledger from then on, which `wallex verify` says. Looked at
closely is only what made no document or was refused: it is passed over if the event itself is the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog
from prometheus_client import Counter

from worker.contracts.events import stream_name
from worker.contracts.times import format_time
from worker.projection.document import (
    WALLET_EVENT_TYPES,
    Event,
    RecordedEvent,
    UnreadableEvent,
    apply,
    document_bytes,
    read_event,
)
from worker.projection.index import KEPT, KEYWORD, LONG, METADATA, SENDERS_TIME, SORTED, TIME, Projection

UNKNOWN_TYPE, NOT_OURS = "unknown_type", "not_ours"
"""Why an event is passed over: the label of `wallex_projection_events_skipped`."""

ID_BYTES_MAX = 512
TERM_BYTES_MAX = 32_766
NANOS_YEARS = range(1970, 2262)
"""What Elasticsearch takes as a document's id, as a keyword, and as a `date_nanos`."""

log = structlog.get_logger(__name__)


def read_ours(batch: Iterable[RecordedEvent], skipped: Counter) -> list[Event]:
    """The events of `batch` that are what the contract says; a line in the log for each other one."""
    ours: list[Event] = []
    for recorded in batch:
        if recorded.type not in WALLET_EVENT_TYPES:
            where = {"stream": recorded.stream, "revision": recorded.revision}
            log.warning("projection_skips_unknown_event", type=recorded.type, **where)
            skipped.labels(UNKNOWN_TYPE).inc()
            continue
        try:
            ours.append(read_event(recorded))
        except UnreadableEvent as error:
            _skip(recorded.type, recorded.stream, recorded.revision, str(error), skipped)
    return ours


def without_foreign(events: Sequence[Event], projections: Sequence[Projection], skipped: Counter) -> list[Event]:
    """Those of `events` whose documents can be made and fit their mappings; a line in the log for each other one."""
    ours: list[Event] = []
    for event in events:
        reason = why_no_document(event, projections)
        if reason is None:
            ours.append(event)
        else:
            _skip(event.type, stream_name(event.data["walletId"]), event.revision, reason, skipped)
    return ours


def why_no_document(event: Event, projections: Iterable[Projection]) -> str | None:
    """What in `event` keeps its documents from being made or taken; None where nothing does."""
    try:
        for projection in projections:
            document_id = apply(projection.key, event)
            if document_id is None:
                continue
            if not 0 < len(document_id.encode()) <= ID_BYTES_MAX:
                return f"the id of its document in {projection.alias} has {len(document_id)} characters"
            document_bytes(projection.document, event)
            if misfit := _misfit(projection.properties, apply(projection.document, event)):
                return f"{misfit} is not what {projection.alias} takes there"
    except UnreadableEvent as error:
        return str(error)
    return None


def _skip(type_: str, stream: str, revision: int, reason: str, skipped: Counter) -> None:
    log.error("projection_skips_foreign_event", type=type_, stream=stream, revision=revision, reason=reason)
    skipped.labels(NOT_OURS).inc()


def _misfit(properties: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    """The first field whose value the mapping of that field cannot take; None where all fit."""
    for name, value in document.items():
        fits = next((fits for kind, fits in _FITS if properties.get(name) == kind), None)
        if value is not None and fits is not None and not fits(value):
            return name
    return None


def _is_term(value: object) -> bool:
    return isinstance(value, str) and len(value.encode()) <= TERM_BYTES_MAX


def _is_long(value: object) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _is_time(value: object) -> bool:
    """Whether it is a time as our events have it."""
    try:
        return isinstance(value, str) and format_time(datetime.fromisoformat(value)) == value
    except (ValueError, OverflowError):
        return False


def _is_time_in_nanos(value: object) -> bool:
    return _is_time(value) and int(str(value)[:4]) in NANOS_YEARS


def _is_object(value: object) -> bool:
    """Whether it is metadata that is searched by its paths: each path with its value is a term."""
    return isinstance(value, dict) and len(orjson.dumps(value)) <= TERM_BYTES_MAX


_FITS: tuple[tuple[dict[str, Any], Callable[[object], bool]], ...] = (
    *((kind, _is_term) for kind in (KEYWORD, KEPT, SORTED)),
    (LONG, _is_long),
    (TIME, _is_time_in_nanos),
    (SENDERS_TIME, _is_time),
    (METADATA, _is_object),
)

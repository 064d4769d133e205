"""Events in a wallet's stream that are not ours: each is told, counted and passed over, and no event of ours is."""

from __future__ import annotations

import json

import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.projection import as_recorded, wallet_events
from tests.unit.projection.test_document import HOLD, an_event, as_recorded_by_hand, hold_events
from worker.projection.document import read_event
from worker.projection.foreign import NOT_OURS, UNKNOWN_TYPE, read_ours, why_no_document, without_foreign
from worker.projection.index import PROJECTIONS
from worker.telemetry.metrics import ProjectorMetrics, new_registry


def a_counter():
    """The counter of a projector."""
    return ProjectorMetrics(new_registry()).events_skipped


def counted(skipped):
    """What was counted, by reason."""
    return {reason: skipped.labels(reason)._value.get() for reason in (UNKNOWN_TYPE, NOT_OURS)}


def test_what_cannot_be_read_is_told_counted_and_passed_over():
    """One line each, with stream and revision; whatever stands around it is read."""
    ours = as_recorded(wallet_events(["100", "1"]))
    foreign = as_recorded_by_hand("WalletCredited", 7, b"{}")
    unknown = as_recorded_by_hand("NoteTaken", 8, b"no JSON")
    skipped = a_counter()

    with capture_logs() as logs:
        events = read_ours([ours[0], foreign, unknown, ours[1]], skipped)

    assert [event.id for event in events] == [one.id for one in ours]
    assert [(line["event"], line["stream"], line["revision"]) for line in logs] == [
        ("projection_skips_foreign_event", foreign.stream, 7),
        ("projection_skips_unknown_event", unknown.stream, 8),
    ]
    assert counted(skipped) == {UNKNOWN_TYPE: 1, NOT_OURS: 1}


@pytest.mark.parametrize(
    "facts",
    [
        {"balance": "87.5"},
        {"balance": "99999999999999999999.0000"},
        {"ownerId": {"not": "text"}},
        {"ownerId": "o" * 40_000},
        {"walletMetadata": "text"},
        {"walletMetadata": orjson.loads("[" * 300 + "]" * 300)},
        {"walletMetadata": {"k" * 40_000: 1}},
        {"createdAt": "1600-01-01T00:00:00.000000Z"},
        {"createdAt": 7},
        {"event_type": "HoldPlaced", "hold": {**HOLD, "holdId": ""}},
        {"event_type": "HoldPlaced", "hold": {**HOLD, "expiresAt": "soon"}},
    ],
)
def test_an_event_that_no_document_can_be_made_of_is_told_from_ours(facts):
    """Whatever Elasticsearch would refuse, and be it a whole bulk for one empty id, is the event's own fault."""
    foreign = read_event(an_event(**{"amount": "1.0000", **facts}))
    ours = read_event(an_event(amount="1.0000"))
    skipped = a_counter()

    with capture_logs() as logs:
        left = without_foreign([ours, foreign], PROJECTIONS, skipped)

    assert left == [ours]
    assert [line["event"] for line in logs] == ["projection_skips_foreign_event"]
    assert counted(skipped)[NOT_OURS] == 1


def test_no_event_of_ours_is_taken_for_a_foreign_one():
    """Holds, metadata at its limit and the largest balance among them: a refused one stops the projector instead."""
    large = json.dumps({"k" * 4_000: "v" * 4_000})
    events = [*hold_events(), *wallet_events(["1", "900000000000000"], metadata=large, wallet_metadata=large)]

    for recorded in as_recorded(events):
        assert why_no_document(read_event(recorded), PROJECTIONS) is None

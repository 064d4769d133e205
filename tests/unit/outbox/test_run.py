"""Runs, cut and cut into pieces, and the requests that carry them."""

from __future__ import annotations

from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contracts.events import stream_name
from worker.errors import BrokenRunError
from worker.ledger.entry import NewEvent
from worker.outbox import append_to_stream
from worker.outbox.append_records import APPEND_BYTES_MAX, build_requests
from worker.outbox.run import EVENT_OVERHEAD_BYTES, Run, rounds_of, runs_of

WALLET = str(uuid4())


def new_run(sizes: list[int], first: int = 0, wallet_id: str | None = None) -> Run:
    """A run of events whose data has these sizes."""
    wallet = wallet_id or str(uuid4())
    return Run(
        wallet,
        [
            NewEvent(wallet, first + place, str(uuid4()), "WalletCredited", bytes(size), {"$causationId": str(uuid4())})
            for place, size in enumerate(sizes)
        ],
    )


def test_events_are_gathered_into_one_run_for_each_wallet():
    """Events of several wallets in the order they were made become one run for each, in order of version."""
    one, other = new_run([1, 1], first=3), new_run([1])

    runs = runs_of([one.events[0], other.events[0], one.events[1]])

    assert runs == [one, other]
    assert (runs[0].first, runs[0].last) == (3, 4)


def test_versions_with_a_gap_make_two_runs_of_the_wallet():
    """Between versions 3 and 7 of a wallet lie another transaction's events: one run would put 7 where 4 belongs."""
    early, late, other = (
        new_run([1, 1], first=2, wallet_id=WALLET),
        new_run([1], first=7, wallet_id=WALLET),
        new_run([1]),
    )

    runs = runs_of([*early.events, *other.events, *late.events])

    assert runs == [early, late, other]
    assert rounds_of(runs) == [[early, other], [late]]


@pytest.mark.parametrize("build", [lambda run: list(build_requests([run])), append_to_stream._requests])
def test_an_event_is_never_sent_for_another_revision_than_its_version(build):
    """Whatever made such a run: nothing is sent, for what a stream holds cannot be taken back."""
    early, late = new_run([1], first=3, wallet_id=WALLET), new_run([1], first=7, wallet_id=WALLET)

    with pytest.raises(BrokenRunError, match=r"version 7 would be appended .* at revision 4"):
        build(Run(WALLET, [*early.events, *late.events]))
    with pytest.raises(BrokenRunError, match="would be appended to the stream of"):
        build(Run(WALLET, new_run([1]).events))


def test_a_run_is_parted_at_the_revision_of_its_stream():
    """What a stream has and what it lacks are the two parts of a run; its last event alone is the proof."""
    run = new_run([1] * 5, first=10)

    assert [event.version for event in run.until(12).events] == [10, 11, 12]
    assert [event.version for event in run.after(12).events] == [13, 14]
    assert [event.version for event in run.until(12).proof().events] == [12]


def test_a_run_that_is_small_enough_is_its_only_piece():
    """Nothing is copied where nothing is cut."""
    run = new_run([100, 200])

    ((piece, size),) = run.pieces(10_000)

    assert piece is run
    assert size == 300 + 2 * EVENT_OVERHEAD_BYTES


@given(sizes=st.lists(st.integers(0, 5_000), min_size=1, max_size=30), bytes_max=st.integers(6_024, 20_000))
def test_pieces_hold_the_run_in_order_and_no_two_neighbours_fit_together(sizes, bytes_max):
    """Two pieces of a stream in one call would name it twice, which the server refuses."""
    run = new_run(sizes)

    pieces = list(run.pieces(bytes_max))

    assert [event for piece, _ in pieces for event in piece.events] == list(run.events)
    assert all(size <= bytes_max for _, size in pieces)
    assert all(one + next_ > bytes_max for (_, one), (_, next_) in pairwise(pieces))


def test_a_request_checks_each_stream_once_at_the_version_before_its_first_event():
    """A record for each event, in order, and one check for each stream: -1 where it must not be there."""
    new, old = new_run([2, 3]), new_run([4], first=7)

    (request,) = build_requests([new, old])

    checks = {check.stream_state.stream: check.stream_state.expected_state for check in request.checks}
    assert checks == {stream_name(new.wallet_id): -1, stream_name(old.wallet_id): 6}
    assert [record.record_id for record in request.records] == [event.event_id for event in (*new.events, *old.events)]
    assert [record.schema.name for record in request.records] == ["WalletCredited"] * 3
    assert [len(record.data) for record in request.records] == [2, 3, 4]
    properties = {name: value.string_value for name, value in request.records[0].properties.items()}
    assert properties == new.events[0].properties


@given(runs=st.lists(st.lists(st.integers(0, 3 * 2**20), min_size=1, max_size=5), min_size=1, max_size=6))
def test_no_request_is_larger_than_it_may_be_nor_names_a_stream_twice(runs):
    """However large the runs: requests of at most 8 MiB of events, in the order of the runs."""
    given_runs = [new_run(sizes) for sizes in runs]

    requests = list(build_requests(given_runs))

    sent = [record.record_id for request in requests for record in request.records]
    assert sent == [event.event_id for run in given_runs for event in run.events]
    for request in requests:
        streams = [check.stream_state.stream for check in request.checks]
        assert len(streams) == len(set(streams))
        assert request.ByteSize() <= APPEND_BYTES_MAX


def test_the_overhead_of_an_event_is_counted_high_enough():
    """A request stays below 16 MiB even where events are small and carry the longest ids that a sender may give."""
    run = new_run([1] * 20_000)
    longest = {"$causationId": str(uuid4()), "$correlationId": "f" * 512, "traceparent": "0" * 55}
    events = [event._replace(properties=longest) for event in run.events]

    requests = list(build_requests([Run(run.wallet_id, events)]))

    assert len(requests) > 1
    assert max(request.ByteSize() for request in requests) <= APPEND_BYTES_MAX

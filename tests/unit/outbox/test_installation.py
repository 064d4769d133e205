"""Which databases and KurrentDBs belong together."""

from __future__ import annotations

from itertools import product

import pytest

from worker.outbox.installation import Own, Traces, why_foreign

OURS, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
NOTHING = Traces(shared=False, in_postgres=False, in_kurrentdb=False)
SHARED = Traces(shared=True, in_postgres=True, in_kurrentdb=True)
ONLY_POSTGRES = Traces(shared=False, in_postgres=True, in_kurrentdb=False)
ONLY_KURRENTDB = Traces(shared=False, in_postgres=False, in_kurrentdb=True)
APART = Traces(shared=False, in_postgres=True, in_kurrentdb=True)

EVERY_PAIR = list(product((True, False), (OURS, OTHER, None), (NOTHING, SHARED, ONLY_POSTGRES, ONLY_KURRENTDB, APART)))


@pytest.mark.parametrize(("is_joined", "found", "traces"), EVERY_PAIR)
def test_only_stores_of_one_id_and_stores_that_nothing_speaks_against_belong_together(is_joined, found, traces):
    """The same id; or none yet on either side, and nothing there, or an event that both have."""
    belong_together = found == OURS or (not is_joined and found is None and traces in (NOTHING, SHARED))

    assert (why_foreign(Own(OURS, is_joined), found, traces) is None) == belong_together


@pytest.mark.parametrize(
    ("is_joined", "found", "traces", "foreign"),
    [
        (True, None, None, "KurrentDB is foreign"),
        (True, OTHER, None, "one of them is foreign"),
        (False, OTHER, None, "the database is foreign"),
        (False, None, ONLY_POSTGRES, "KurrentDB is foreign"),
        (False, None, APART, "KurrentDB is foreign"),
        (False, None, ONLY_KURRENTDB, "the database is foreign"),
    ],
)
def test_the_reason_says_which_store_is_foreign(is_joined, found, traces, foreign):
    """As far as it can be known: of two that belong to two installations, only whoever chose them knows."""
    reason = why_foreign(Own(OURS, is_joined), found, traces)

    assert foreign in reason
    assert found is None or found in reason

"""A command's attempts are counted by what is stored, not by what a sender writes."""

from __future__ import annotations

from tests.support.commands import credit, new_id
from tests.support.received import received
from tests.support.strategies import NOON
from worker.domain.wallet import Book
from worker.ledger.decide_batch import decide_batch


def test_a_header_makes_no_attempt_where_nothing_failed():
    """Two who run one id at once write the same primary key: one of them is refused and recalls the other's."""
    command = received(credit(new_id()), [("dlq_attempt", b"7")])

    decided = decide_batch([command], Book({}, {}), {}, NOON)

    assert decided.outcomes[0].recorded is not None
    assert decided.outcomes[0].recorded.attempt == 1

"""The fold: what a fact makes of a wallet, and of a hold."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import get_args

import pytest

from tests.unit.domain.scenes import HOLD, LATER, NOW, SOURCE, TARGET, TEN, hold, wallet
from worker.contracts.money import ZERO
from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.domain import facts
from worker.domain.evolve import evolve, evolve_hold
from worker.domain.facts import Fact

FOUR, SIX = Decimal("4.0000"), Decimal("6.0000")
PLACED = facts.HoldPlaced(SOURCE, HOLD, TEN, HoldType.ESCROW, "r", '{"a":1}', LATER)
# What each fact changes in a suspended wallet of 100, 20 of them held, besides its version and its time.
CHANGES = [
    (facts.WalletCredited(SOURCE, TEN), {"balance": Decimal("110.0000")}),
    (facts.WalletCredited(SOURCE, TEN, TARGET), {"balance": Decimal("110.0000")}),
    (facts.WalletDebited(SOURCE, TEN), {"balance": Decimal("90.0000")}),
    (facts.WalletDebited(SOURCE, TEN, TARGET), {"balance": Decimal("90.0000")}),
    (PLACED, {"held_balance": Decimal("30.0000")}),
    (facts.HoldReleased(SOURCE, HOLD, TEN), {"held_balance": Decimal("10.0000")}),
    (facts.HoldExpired(SOURCE, HOLD, TEN), {"held_balance": Decimal("10.0000")}),
    (
        facts.HoldCaptured(SOURCE, HOLD, TEN, ZERO),
        {"balance": Decimal("90.0000"), "held_balance": Decimal("10.0000")},
    ),
    (
        facts.HoldCaptured(SOURCE, HOLD, FOUR, SIX, TARGET),
        {"balance": Decimal("96.0000"), "held_balance": Decimal("10.0000")},
    ),
    (facts.WalletSuspended(SOURCE, "r"), {"status": WalletStatus.SUSPENDED}),
    (facts.WalletReactivated(SOURCE, None), {"status": WalletStatus.ACTIVE}),
    (facts.WalletClosed(SOURCE), {"status": WalletStatus.CLOSED}),
    (facts.WalletMetadataUpdated(SOURCE, '{"b":2}'), {"metadata": '{"b":2}'}),
]
AFTER_CREATION = [pytest.param(fact, id=type(fact).__name__) for fact, _ in CHANGES]
ENDS = [
    (facts.HoldReleased(SOURCE, HOLD, TEN), {"status": HoldStatus.RELEASED, "released_at": NOW}),
    (facts.HoldExpired(SOURCE, HOLD, TEN), {"status": HoldStatus.EXPIRED}),
    (
        facts.HoldCaptured(SOURCE, HOLD, FOUR, SIX),
        {"status": HoldStatus.CAPTURED, "captured_at": NOW, "captured_amount": FOUR},
    ),
]


def test_every_fact_is_folded_here():
    """No fact is forgotten."""
    assert {facts.WalletCreated, *(type(fact) for fact, _ in CHANGES)} == set(get_args(Fact))


@pytest.mark.parametrize("created_with", ["0.0000", "12.5000"])
def test_a_wallet_begins_at_version_0_and_active(created_with):
    """`WalletCreated` is revision 0 of the stream."""
    fact = facts.WalletCreated(SOURCE, "customer-17", "EUR", Decimal(created_with), '{"a":1}')

    new = evolve(None, fact, NOW)

    assert (new.id, new.owner_id, new.currency, new.metadata) == (SOURCE, "customer-17", "EUR", '{"a":1}')
    assert (new.version, new.status) == (0, WalletStatus.ACTIVE)
    assert (str(new.balance), new.held_balance) == (created_with, ZERO)
    assert new.created_at == new.updated_at == NOW


@pytest.mark.parametrize(("fact", "changes"), CHANGES, ids=[type(fact).__name__ for fact, _ in CHANGES])
def test_a_fact_changes_what_it_says_the_version_and_the_time_alone(fact, changes):
    """A version is one higher with each event, and equals its revision; money keeps its four places."""
    before = wallet(SOURCE, status=WalletStatus.SUSPENDED)

    after = evolve(before, fact, NOW)

    assert after == before._replace(**changes, version=8, updated_at=NOW)
    assert [f"{after.balance:.4f}", f"{after.held_balance:.4f}"] == [str(after.balance), str(after.held_balance)]


@pytest.mark.parametrize("fact", AFTER_CREATION)
@pytest.mark.parametrize("back", [timedelta(0), timedelta(microseconds=1), timedelta(days=400)])
def test_time_never_runs_backwards_in_a_stream(fact, back):
    """Where the database's clock was set back, the last event's time stands."""
    before = wallet(SOURCE, updated_at=NOW)

    after = evolve(before, fact, NOW - back)

    assert after.updated_at == NOW
    assert after.created_at == before.created_at


@pytest.mark.parametrize("fact", AFTER_CREATION)
def test_nothing_happens_to_a_wallet_that_is_not_there(fact):
    """Only `WalletCreated` can be first: anything else is a bug, and says so."""
    with pytest.raises(ValueError, match="only WalletCreated"):
        evolve(None, fact, NOW)


def test_a_hold_begins_active_with_nothing_captured():
    """It is as it was placed."""
    new = evolve_hold(None, PLACED, NOW)

    assert (new.id, new.wallet_id, new.amount, new.type) == (HOLD, SOURCE, TEN, HoldType.ESCROW)
    assert (new.status, new.captured_amount, new.expires_at) == (HoldStatus.ACTIVE, ZERO, LATER)
    assert (new.reference, new.metadata) == ("r", '{"a":1}')
    assert (new.released_at, new.captured_at, new.created_at, new.updated_at) == (None, None, NOW, NOW)


@pytest.mark.parametrize(("fact", "changes"), ENDS, ids=[type(fact).__name__ for fact, _ in ENDS])
def test_a_hold_ends_once_and_keeps_what_it_was(fact, changes):
    """Its end and its time are all that changes; of a capture also how much was paid."""
    assert evolve_hold(hold(), fact, NOW) == hold()._replace(**changes, updated_at=NOW)


@pytest.mark.parametrize("fact", [fact for fact, _ in ENDS])
def test_nothing_happens_to_a_hold_that_is_not_there(fact):
    """Only `HoldPlaced` can be first: anything else is a bug, and says so."""
    with pytest.raises(ValueError, match="only HoldPlaced"):
        evolve_hold(None, fact, NOW)

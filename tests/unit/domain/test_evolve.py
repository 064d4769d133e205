"""The fold: what a fact makes of a wallet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.unit.domain.scenes import NOW, SOURCE, TARGET, wallet
from worker.contracts.money import ZERO
from worker.contracts.status import WalletStatus
from worker.domain.evolve import evolve
from worker.domain.facts import WalletCreated, WalletCredited, WalletDebited

TEN = Decimal("10.0000")
MOVEMENTS = [
    (WalletCredited(SOURCE, TEN), "110.0000"),
    (WalletCredited(SOURCE, TEN, TARGET), "110.0000"),
    (WalletDebited(SOURCE, TEN), "90.0000"),
    (WalletDebited(SOURCE, TEN, TARGET), "90.0000"),
]


@pytest.mark.parametrize("created_with", ["0.0000", "12.5000"])
def test_a_wallet_begins_at_version_0_and_active(created_with):
    """`WalletCreated` is revision 0 of the stream."""
    fact = WalletCreated(SOURCE, "customer-17", "EUR", Decimal(created_with), '{"a":1}')

    new = evolve(None, fact, NOW)

    assert (new.id, new.owner_id, new.currency, new.metadata) == (SOURCE, "customer-17", "EUR", '{"a":1}')
    assert (new.version, new.status) == (0, WalletStatus.ACTIVE)
    assert (str(new.balance), new.held_balance) == (created_with, ZERO)
    assert new.created_at == new.updated_at == NOW


@pytest.mark.parametrize(("fact", "balance"), MOVEMENTS)
def test_a_movement_changes_the_balance_the_version_and_the_time_alone(fact, balance):
    """A version is one higher with each event, and equals its revision."""
    before = wallet(SOURCE, status=WalletStatus.SUSPENDED)

    after = evolve(before, fact, NOW)

    assert after == replace(before, balance=Decimal(balance), version=8, updated_at=NOW)
    assert str(after.balance) == balance


@pytest.mark.parametrize(("fact", "_balance"), MOVEMENTS)
@pytest.mark.parametrize("back", [timedelta(0), timedelta(microseconds=1), timedelta(days=400)])
def test_time_never_runs_backwards_in_a_stream(fact, _balance, back):
    """Where the database's clock was set back, the last event's time stands."""
    before = wallet(SOURCE, updated_at=NOW)

    after = evolve(before, fact, NOW - back)

    assert after.updated_at == NOW
    assert after.created_at == before.created_at


@pytest.mark.parametrize("fact", [fact for fact, _ in MOVEMENTS])
def test_no_money_moves_in_a_wallet_that_is_not_there(fact):
    """Only `WalletCreated` can be first: anything else is a bug, and says so."""
    with pytest.raises(ValueError, match="only WalletCreated"):
        evolve(None, fact, NOW)

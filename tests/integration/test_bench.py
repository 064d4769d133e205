"""What the bench writes into Postgres by itself is what the worker would have written: the books are right."""

from __future__ import annotations

import pytest

from bench.floor import one_at_a_time, prepared_batches
from bench.growth import fill
from tests.support.ledger import balances
from worker.settings import Settings


async def test_both_floors_leave_books_that_are_right(stack, environment, engine):
    """Postgres alone does the whole of the work: a floor that wrote less would be too high."""
    settings, pid = Settings.load(environment), stack.pid("postgres")

    batches = await prepared_batches(settings, 600, pid)
    single = await one_at_a_time(settings, 7, 3, pid)

    versions = [version for _, version in (await balances(engine)).values()]
    assert len(versions) == 20_000
    assert sum(versions) == 2 * 607
    assert batches.rate > 0
    assert single.transfers == 7


async def test_other_wallets_have_a_history_like_everybodys(environment, engine):
    """Each is its entries, and each entry has its command: what is measured beside them is not a toy."""
    said = []

    entries, commands, size_bytes = await fill(Settings.load(environment), 42, said.append)

    assert (entries, commands) == (42 * 20, 42 + 42 // 2 * 19)
    assert size_bytes > 0
    assert said == ["filled with 42 of 42 other wallets"]
    assert {version for _, version in (await balances(engine)).values()} == {19}


async def test_an_odd_number_of_other_wallets_is_refused(environment):
    """The last one would have no neighbour to pay."""
    with pytest.raises(ValueError, match="expected an even number of wallets"):
        await fill(Settings.load(environment), 3, print)

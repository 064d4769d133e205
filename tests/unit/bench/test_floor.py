"""What the floors write is decided beforehand: exactly what the worker would write for the same commands."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from bench.commands import new_ids, openings, transfers
from bench.floor import WRITE_TRANSFER, Floor, prepare, transfer_values

CHANCE = random.Random(1)


def test_each_batch_is_decided_on_what_the_ones_before_it_left():
    """The worker's writes are guarded by the version that was read: a stale one would not be written."""
    ids, wallets = new_ids(3, CHANCE), {}
    prepare(openings(ids, CHANCE), 2, wallets)

    prepared = prepare(transfers(5, ids, CHANCE), 2, wallets)

    entries = [entry for decided in prepared for outcome in decided.outcomes for entry in outcome.entries]
    for id_ in ids:
        versions = [entry.version for entry in entries if entry.wallet_id == id_]
        assert versions == list(range(1, wallets[id_].version + 1))
    assert [len(decided.outcomes) for decided in prepared] == [2, 2, 1]
    assert sum(wallet.balance for wallet in wallets.values()) == 3 * Decimal(1_000_000_000)


def test_a_command_that_would_be_refused_is_no_transfer_to_measure():
    """A rejection writes one row where a transfer writes five: it would make the floor too high."""
    ids = new_ids(2, CHANCE)

    with pytest.raises(ValueError, match="WalletNotFound"):
        prepare(transfers(1, ids, CHANCE), 1, {})


def test_a_transfers_values_are_those_of_its_one_statement():
    """A command, two entries and two wallets go in one round trip, each value in its place."""
    ids, wallets = new_ids(2, CHANCE), {}
    prepare(openings(ids, CHANCE), 2, wallets)
    (decided,) = prepare(transfers(1, ids, CHANCE), 1, wallets)

    values = transfer_values(decided)

    assert f"${len(values)}" in WRITE_TRANSFER
    assert f"${len(values) + 1}" not in WRITE_TRANSFER
    assert {values[-1], values[-5]} == set(ids)
    assert values[-4] == wallets[values[-1]].balance


def test_rate_and_cpu_time_are_of_one_transfer():
    """Two floors are compared by transfer, whatever their sizes."""
    floor = Floor("anything", 1000, seconds=0.5, active_seconds=0.4, postgres_cpu_seconds=0.2, client_cpu_seconds=0.1)

    assert floor.rate == 2000.0
    assert (floor.active_us, floor.postgres_cpu_us, floor.client_cpu_us) == (400.0, 200.0, 100.0)

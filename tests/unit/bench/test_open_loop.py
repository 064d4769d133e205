"""The schedule of an open loop, and what is seen of a probe."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace

import pytest

from bench.commands import new_ids
from bench.open_loop import arrivals
from bench.parts.latency import PROBE_EVERY, make_schedule
from bench.visibility import Probe, is_seen


def test_arrivals_are_in_order_and_come_at_the_rate():
    """Independent senders: gaps vary, their mean does not."""
    times = arrivals(20_000, 1000.0, random.Random(1))

    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[-1] == pytest.approx(20.0, rel=0.05)


def test_arrivals_are_fixed_by_the_seed():
    """What the worker does has no say in when the next command is due."""
    first, second = (arrivals(100, 1000.0, random.Random(1)) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(("found", "seen"), [({}, False), ({"w": 6}, False), ({"w": 7}, True), ({"w": 9}, True)])
def test_a_probe_is_seen_once_a_search_finds_its_version_or_a_later_one(found, seen):
    """A document holds only the last version of a wallet."""
    probe = Probe(0.0, "w", 7)

    assert is_seen(probe, found) is seen


def test_one_command_in_twenty_is_a_probe_whose_version_is_known_in_advance():
    """Its wallets are credited by nothing else, from run to run."""
    ids = new_ids(13, random.Random(1))
    probes = dict.fromkeys(ids[:3], 0)
    scene = SimpleNamespace(wallets=ids[3:], chance=random.Random(1))

    runs = [make_schedule(scene, 100, 1000.0, probes) for _ in range(2)]

    made = [due.probe for run in runs for due in run if due.probe is not None]
    assert len(made) == 2 * 100 // PROBE_EVERY
    assert [(probe.wallet, probe.version) for probe in made[:4]] == [(ids[0], 1), (ids[1], 1), (ids[2], 1), (ids[0], 2)]
    assert all(due.probe.at == due.at for run in runs for due in run if due.probe is not None)
    for wallet, version in probes.items():
        assert [probe.version for probe in made if probe.wallet == wallet] == list(range(1, version + 1))

"""What happens when: pure, repeatable, and nothing is left out."""

from __future__ import annotations

from itertools import islice

from chaos.faults import FAULTS, KINDS, says
from chaos.schedule import AT_ONCE, EVERYTHING, PAUSE_S, Kind, Strike, schedule

STEPS = 1_000


def taken(seed: int, count: int = STEPS):
    return list(islice(schedule(seed, KINDS), count))


def test_the_same_seed_gives_the_same_faults():
    """In the same order, on the same targets, for as long: a run can be repeated by its seed alone."""
    assert taken(7) == taken(7)
    assert taken(7) != taken(8)


def test_each_fault_strikes_each_of_its_targets_before_any_comes_again():
    """They are dealt like cards."""
    cards = {(kind.name, target) for kind in KINDS for target in kind.targets}

    struck = [(strike.kind, strike.target) for step in taken(3) for strike in step.strikes]

    assert set(struck[: len(cards)]) == cards
    assert set(struck[len(cards) : 2 * len(cards)]) == cards


def test_faults_that_meet_touch_different_things():
    """One that touches everything strikes alone; two at once are rather rare."""
    touches = {kind.name: kind.touches for kind in KINDS}

    together = [[touches[strike.kind] for strike in step.strikes] for step in taken(5) if len(step.strikes) > 1]

    assert 0.5 * AT_ONCE < len(together) / STEPS <= AT_ONCE * 1.2
    assert all(EVERYTHING not in both and len(set(both)) == len(both) == 2 for both in together)


def test_faults_and_pauses_last_as_long_as_their_kind_says():
    """Seconds between two bounds."""
    bounds = {kind.name: kind.lasts_s for kind in KINDS}

    steps = taken(11)

    assert all(PAUSE_S[0] <= step.pause_s <= PAUSE_S[1] for step in steps)
    assert all(
        bounds[strike.kind][0] <= strike.lasts_s <= bounds[strike.kind][1] for step in steps for strike in step.strikes
    )


def test_each_kind_has_a_name_of_its_own_and_says_what_it_does():
    """They are told apart by their names, in the lines of a run and in its summary."""
    assert len({fault.kind.name for fault in FAULTS}) == len(FAULTS)
    assert all(says(Strike(fault.kind.name, "", 0.0, 0)) == fault.says for fault in FAULTS)


def test_a_single_kind_strikes_again_and_again_and_never_meets_itself():
    """Whatever is dealt."""
    lonely = Kind("rain", "weather", ("roof",), (1.0, 2.0))

    steps = list(islice(schedule(1, [lonely]), 20))

    assert [[strike.target for strike in step.strikes] for step in steps] == [["roof"]] * 20

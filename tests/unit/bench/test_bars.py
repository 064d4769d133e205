"""The bars: reached, missed, or not measured."""

from __future__ import annotations

import pytest

from bench.bars import BARS, judge
from bench.results import RATE, Row


def a_row(name, rate=1.0, worker=0.0, **figures):
    """A row of which only some figures matter."""
    return Row(name, name, {RATE: rate, **figures}, {"worker": worker})


def judged(what, *rows):
    """What is said of the bar that is called `what`."""
    return next(one for one in judge({row.name: row for row in rows}) if one.bar.what == what)


@pytest.mark.parametrize(("rate", "reached"), [(1499, False), (1500, True), (3000, True)])
def test_a_ratio_is_reached_from_its_target_on(rate, reached):
    """At least: the target itself is enough."""
    rows = a_row("uniform", rate), a_row("baseline_uniform", 100)

    found = judged("uniform transfers against the baseline", *rows)

    assert found.measured == pytest.approx(rate / 100)
    assert found.is_reached is reached


@pytest.mark.parametrize(("worker", "reached"), [(131, False), (130, True), (90, True)])
def test_a_cost_is_reached_up_to_its_target(worker, reached):
    """At most: less is better."""
    found = judged("worker CPU a transfer", a_row("uniform", worker=worker))

    assert found.is_reached is reached


def test_a_bar_whose_part_is_missing_is_neither_reached_nor_missed():
    """A part that failed, or was not asked for, says nothing."""
    found = judged("rebuild from the start", a_row("uniform"))

    assert found.measured is None
    assert found.is_reached is None


def test_what_is_judged_goes_into_json_with_its_bound():
    """A script sees the direction without knowing the bars."""
    found = judged("worker CPU a transfer", a_row("uniform", worker=99.1234)).as_json()

    assert found["bound"] == "at most"
    assert (found["measured"], found["target"], found["reached"]) == (99.123, 130, True)


def test_no_bar_is_called_like_another():
    """They are told apart by what they say."""
    assert len({bar.what for bar in BARS}) == len(BARS)

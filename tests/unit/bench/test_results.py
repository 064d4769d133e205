"""Figures: medians of runs, CPU time a command, percentiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import Run, load_row, percentile


def a_run(commands=1000, seconds=1.0, **cpu_seconds):
    """A run of which only some things matter."""
    return Run(commands, seconds, 0.5, 0.1, cpu_seconds)


def test_a_row_has_the_median_rate_between_the_lowest_and_the_highest():
    """One odd run does not move the figure."""
    runs = [a_run(seconds=seconds) for seconds in (1.0, 10.0, 2.0)]

    row = load_row("uniform", "transfers", runs)

    assert row.rate == 500
    assert (row.figures["lowest"], row.figures["highest"]) == (100, 1000)


def test_cpu_time_is_a_command_and_a_process():
    """Each process has its own median."""
    runs = [a_run(worker=0.1, Postgres=0.3), a_run(worker=0.2, Postgres=0.2), a_run(worker=0.3, Postgres=0.1)]

    row = load_row("uniform", "transfers", runs)

    assert row.cpu_us == pytest.approx({"worker": 200, "Postgres": 200})


def test_time_in_postgres_is_that_of_all_runs_together():
    """What a session reports late counts for the next run, so only the sum is right."""
    runs = [Run(1000, 1.0, 0.0, seconds, {}) for seconds in (0.0, 0.2, 0.1)]

    row = load_row("uniform", "transfers", runs)

    assert row.figures["in_postgres_us"] == pytest.approx(100)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent, expected):
    """Nearest rank: the smallest value that so many percent do not exceed."""
    values = list(range(100, 0, -1))

    found = percentile(values, percent)

    assert found == expected


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(1, 100))
def test_at_least_that_many_values_are_no_larger_than_the_percentile(values, percent):
    """Whatever the values are."""
    found = percentile(values, percent)

    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_there_is_no_percentile_of_nothing():
    """Nobody should read 0 ms where nothing was measured."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 99)

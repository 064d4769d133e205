"""What a history costs is one number: how much of the rate is left."""

from __future__ import annotations

from bench.floor import Floor
from bench.growth import Growth


def test_the_ratio_is_that_of_the_median_rates():
    """One disturbed run must not decide."""
    empty = [_floor(rate) for rate in (1000.0, 10.0, 1100.0)]
    grown = [_floor(rate) for rate in (9000.0, 900.0, 800.0)]

    growth = Growth(2, 40, 21, 10**7, 1.0, empty, grown)

    assert growth.ratio == 0.9


def _floor(rate: float) -> Floor:
    return Floor("batches", 1000, 1000 / rate, active_seconds=0.0, postgres_cpu_seconds=0.0, client_cpu_seconds=0.0)

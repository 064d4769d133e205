"""The bars: what is to be reached at least, as ratios within one measurement wherever machines differ.

A bar whose parts were not measured is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.results import Row

Rows = Mapping[str, Row]


@dataclass(frozen=True)
class Bar:
    """`measure` finds the figure among the rows; `unit` is what it counts in; `at_most`: less is better."""

    what: str
    target: float
    unit: str
    measure: Callable[[Rows], float]
    at_most: bool = False


@dataclass(frozen=True)
class Judged:
    """A bar and what was measured; None: it was not."""

    bar: Bar
    measured: float | None

    @property
    def is_reached(self) -> bool | None:
        """Whether the bar is reached; None where nothing was measured."""
        if self.measured is None:
            return None
        return self.measured <= self.bar.target if self.bar.at_most else self.measured >= self.bar.target

    def as_json(self) -> dict[str, object]:
        """The judgement for a script."""
        bar, measured = self.bar, None if self.measured is None else round(self.measured, 3)
        bound = "at most" if bar.at_most else "at least"
        return {
            "what": bar.what,
            "bound": bound,
            "target": bar.target,
            "unit": bar.unit,
            "measured": measured,
            "reached": self.is_reached,
        }


def _rates(name: str, of: str) -> Callable[[Rows], float]:
    return lambda rows: rows[name].rate / rows[of].rate


def _figure(name: str, figure: str) -> Callable[[Rows], float]:
    return lambda rows: rows[name].figures[figure]


def _in_postgres(rows: Rows) -> float:
    return rows["floor_batches"].figures["in_postgres_us"] / rows["uniform"].figures["in_postgres_us"] * 100


BARS = (
    Bar("uniform transfers against the baseline", 15, "times", _rates("uniform", "baseline_uniform")),
    Bar("credits to one wallet against uniform transfers", 3, "times", _rates("hot", "uniform")),
    Bar("credits to one wallet against the baseline's", 40, "times", _rates("hot", "baseline_hot")),
    Bar("worker CPU a transfer", 130, "µs", lambda rows: rows["uniform"].cpu_us["worker"], at_most=True),
    Bar(
        "share of the Postgres floor reached end to end",
        25,
        "%",
        lambda rows: rows["uniform"].rate / rows["floor_batches"].rate * 100,
    ),
    Bar("Postgres's time a transfer at the floor, of that in the worker", 50, "%", _in_postgres),
    Bar("p99 to the reply at half of capacity", 50, "ms", _figure("latency_50", "reply_p99_ms"), at_most=True),
    Bar(
        "p99 to visible in Elasticsearch at half of capacity",
        1000,
        "ms",
        _figure("latency_50", "visible_p99_ms"),
        at_most=True,
    ),
    Bar("grown database against an empty one", 0.85, "of the rate", _rates("growth_grown", "growth_empty")),
    Bar("duplicates against first deliveries", 1, "of the rate", _rates("duplicates", "uniform")),
    Bar("delayed appends against undelayed ones", 0.5, "of the rate", _rates("contention_delayed", "contention")),
    Bar("rebuild from the start", 8000, "events/s", _figure("rebuild", "per_s")),
    Bar("worker's peak memory", 200, "MB", _figure("memory_worker", "mb"), at_most=True),
    Bar(
        "worker's memory after a steady load against its first tenth",
        1.05,
        "times",
        _figure("memory_steady", "growth"),
        at_most=True,
    ),
)


def judge(rows: Rows) -> list[Judged]:
    """Judge all bars by what was measured."""
    return [Judged(bar, _measured(bar, rows)) for bar in BARS]


def _measured(bar: Bar, rows: Rows) -> float | None:
    try:
        return bar.measure(rows)
    except KeyError:
        # The part was not asked for, or failed.
        return None

"""What a measurement gives: rows of figures, each a median of some runs, with CPU microseconds a command by process.

A figure's name is the name in the JSON and, with blanks for underscores, the heading of its column; its unit is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

RATE, BEHIND = "commands_per_s", "elasticsearch_behind_s"

Of = TypeVar("Of")


@dataclass(frozen=True)
class Run:
    """What one run took.

    Seconds to the last reply; from there until Elasticsearch had all; in which Postgres worked for the sessions of the
    database, all sessions together; and of CPU, by process.
    """

    commands: int
    seconds: float
    catch_up_seconds: float
    postgres_seconds: float
    cpu_seconds: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Commands a second, from the first publish to the last reply."""
        return self.commands / self.seconds


@dataclass(frozen=True)
class Row:
    """One thing that was measured: `name` for scripts, `what` for people; `chosen` is what was set for it, by name."""

    name: str
    what: str
    figures: Mapping[str, float]
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    chosen: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Commands a second."""
        return self.figures[RATE]

    def as_json(self) -> dict[str, object]:
        """The row for a script; CPU time is in microseconds a command."""
        figures = {name: round(value, 4) for name, value in self.figures.items()}
        cpu_us = {process: round(value) for process, value in self.cpu_us.items()}
        chosen = dict(self.chosen)
        return {"name": self.name, "what": self.what, "chosen": chosen, "figures": figures, "cpu_us": cpu_us}


def load_row(name: str, what: str, runs: Sequence[Run], **figures: float) -> Row:
    """The row of a load's runs; `figures` are what else was found out."""
    rates = [run.rate for run in runs]
    found = {
        RATE: median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        BEHIND: median(run.catch_up_seconds for run in runs),
        # Of all runs together: sessions report it with a delay, so one run's share may show in the next one's.
        "in_postgres_us": sum(run.postgres_seconds for run in runs) / sum(run.commands for run in runs) * 1e6,
        **figures,
    }
    return Row(name, what, found, cpu_us(runs))


def cpu_us(runs: Sequence[Run]) -> dict[str, float]:
    """CPU microseconds a command, by process: the median of the runs for each."""
    return {
        name: median_of(runs, lambda run, name=name: run.cpu_seconds[name] / run.commands * 1e6)
        for name in runs[0].cpu_seconds
    }


def median_of(items: Sequence[Of], figure: Callable[[Of], float]) -> float:
    """The median of what `figure` says of each item."""
    return median(figure(item) for item in items)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that `percent` of them do not exceed (nearest rank); ValueError where there are none."""
    if not values:
        raise ValueError("no percentile of no values")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]

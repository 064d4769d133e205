"""What came of a run: figures for JSON, tables for the terminal, the same tables as text for the documentation."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import cpu_count, getloadavg
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from chaos.conduct import Happened
from chaos.verdict import Verdict

Summary = dict[str, Any]
Row = tuple[str, ...]
FIGURES = {
    "records": "records sent",
    "ran": "commands run",
    "accepted": "of them accepted",
    "repeated": "duplicates absorbed",
    "replies": "replies",
    "replays": "of them repeated",
    "dead_letters": "dead letters",
    "wallets": "wallets",
    "events": "events",
}


def summarize(
    seed: int, minutes: float, began: str, *, happened: Sequence[Happened], rest_s: float, verdict: Verdict
) -> Summary:
    """Everything that is worth keeping of a run."""
    return {
        "seed": seed,
        "minutes": minutes,
        "command": f"make chaos SEED={seed} MINUTES={minutes:g}",
        "began": began,
        "machine": _machine(),
        "rest_s": round(rest_s, 1),
        **asdict(verdict),
        "faults": [
            {"faults": [asdict(strike) for strike in one.strikes], **_rounded(asdict(one.recovery))} for one in happened
        ],
    }


def _machine() -> str:
    """What it ran on, and how busy that was with other things as well."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{cpu_count()} cores under a load of {getloadavg()[0]:.0f}, {system}"


def save(summary: Summary, file: Path) -> None:
    """Write it as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(summary, indent=1) + "\n")


def figures(summaries: Sequence[Summary]) -> list[Row]:
    """The figures of some runs, added up."""
    rows = [(label, f"{sum(one[name] for one in summaries):,}") for name, label in FIGURES.items()]
    rest = max(one["rest_s"] for one in summaries)
    violations = sum(len(one["violations"]) for one in summaries)
    return [*rows, ("at rest after the last fault, at most", f"{rest:.0f} s"), ("violations", f"{violations:,}")]


def recoveries(summaries: Iterable[Summary]) -> list[Row]:
    """By kind of fault: how often, and how long until replies came again (median and worst), alone or with another."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for summary in summaries:
        for step in summary["faults"]:
            for strike in step["faults"]:
                found[strike["kind"]].append(step)
    return [
        (
            kind,
            str(len(steps)),
            *_median_and_worst([step["first_reply_s"] for step in steps]),
            *_median_and_worst([step["all_answered_s"] for step in steps]),
        )
        for kind, steps in sorted(found.items())
    ]


COLUMNS = ("fault", "times", "first reply", "worst", "all answered", "worst")


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """For the terminal."""
    counted = Table("", "", title="what was done", title_justify="left", show_header=False)
    counted.columns[1].justify = "right"
    for row in figures(summaries):
        counted.add_row(*row)
    struck = Table(title="faults, and how long after each one's end (median and worst)", title_justify="left")
    for number, name in enumerate(COLUMNS):
        struck.add_column(name, justify="right" if number else "left")
    for row in recoveries(summaries):
        struck.add_row(*row)
    return [struck, counted]


def markdown(summaries: Sequence[Summary]) -> str:
    """For the documentation."""
    runs = [f"- `{one['command']}` ({one['began'][:10]}, {one['machine']})" for one in summaries]
    return "\n".join(
        [*runs, "", *table(("", "all runs"), figures(summaries)), "", *table(COLUMNS, recoveries(summaries))]
    )


def table(columns: Row, rows: Iterable[Row], numbers: Sequence[int] = range(1, len(COLUMNS))) -> list[str]:
    """The lines of a table in Markdown; `numbers` are the columns that stand to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(columns))]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)]


def _median_and_worst(seconds: Sequence[float | None]) -> tuple[str, str]:
    came = [one for one in seconds if one is not None]
    worst = f"{max(came):.1f} s" if len(came) == len(seconds) else "never"
    return (f"{median(came):.1f} s" if came else "never"), worst


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 2) for name, value in values.items()}

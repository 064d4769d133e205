"""What came of a run: figures for JSON, tables for the terminal, the same tables as text for the documentation."""

from __future__ import annotations

import json
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
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
    "offset_checks": "times that committed offsets were held against the replies",
}
PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Order:
    """What was asked for: on which code (a commit), with which seed, for how long; `began` is an ISO time.

    `steps`: faults strike for longer than `minutes` where fewer of them did by then.
    """

    revision: str
    seed: int
    minutes: float
    began: str
    steps: int = 0

    @property
    def command(self) -> str:
        """What runs the same seed again, on that code: another kind of fault changes what every seed does."""
        steps = f" STEPS={self.steps}" if self.steps else ""
        return f"make chaos SEED={self.seed} MINUTES={self.minutes:g}{steps}"


def summarize(
    order: Order, *, happened: Sequence[Happened], rest_s: float, offset_checks: int, verdict: Verdict
) -> Summary:
    """Everything that is worth keeping of a run."""
    return {
        **asdict(order),
        "command": order.command,
        "machine": _machine(),
        "rest_s": round(rest_s, 1),
        "offset_checks": offset_checks,
        **asdict(verdict),
        "faults": [
            {
                "faults": [{**asdict(strike), "missed": strike in one.missed} for strike in one.strikes],
                **_rounded(asdict(one.recovery)),
            }
            for one in happened
        ],
    }


def revision() -> str:
    """The commit that is checked out here; `-dirty` where something is not committed, `unknown` without git."""
    asked = ("git", "describe", "--always", "--dirty", "--exclude", "*")
    told = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603 -- git, of whoever runs this
    return told.stdout.strip() or "unknown"


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


def struck(summaries: Iterable[Summary]) -> dict[str, list[Mapping[str, Any]]]:
    """By kind of fault: the steps in which it struck, alone or with another one; those that befell nobody left out."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for summary in summaries:
        for step in summary["faults"]:
            for strike in step["faults"]:
                if not strike["missed"]:
                    found[strike["kind"]].append(step)
    return found


def recoveries(summaries: Iterable[Summary]) -> list[Row]:
    """By kind of fault: how often, and how long until each sign of recovery came (median and worst)."""
    return [
        (kind, str(len(steps)), *chain.from_iterable(_median_and_worst(steps, name) for name in RECOVERY))
        for kind, steps in sorted(struck(summaries).items())
    ]


RECOVERY = {"first_reply_s": "first reply", "all_answered_s": "all answered", "documents_s": "documents"}
COLUMNS = ("fault", "times", *chain.from_iterable((said, "worst") for said in RECOVERY.values()))


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """For the terminal."""
    counted = Table("", "", title="what was done", title_justify="left", show_header=False)
    counted.columns[1].justify = "right"
    for row in figures(summaries):
        counted.add_row(*row)
    faults = Table(title="faults, and how long after each one's end (median and worst)", title_justify="left")
    for number, name in enumerate(COLUMNS):
        faults.add_column(name, justify="right" if number else "left")
    for row in recoveries(summaries):
        faults.add_row(*row)
    return [faults, counted]


def markdown(summaries: Sequence[Summary]) -> str:
    """For the documentation."""
    runs = [f"- `{one['command']}` ({one['began'][:10]}, {one['revision']}, {one['machine']})" for one in summaries]
    return "\n".join(
        [*runs, "", *table(("", "all runs"), figures(summaries)), "", *table(COLUMNS, recoveries(summaries))]
    )


def table(columns: Row, rows: Iterable[Row], numbers: Sequence[int] = range(1, len(COLUMNS))) -> list[str]:
    """The lines of a table in Markdown; `numbers` are the columns that stand to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(columns))]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)]


def _median_and_worst(steps: Sequence[Mapping[str, Any]], name: str) -> tuple[str, str]:
    came = [step[name] for step in steps if step[name] is not None]
    worst = f"{max(came):.1f} s" if len(came) == len(steps) else "never"
    return (f"{median(came):.1f} s" if came else "never"), worst


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 2) for name, value in values.items()}

"""What was measured, told three ways: tables for the terminal, JSON for scripts, a block for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from bench.bars import Judged, judge
from bench.results import Row

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
RANGE = ("lowest", "highest")
CHART = "![Rates, CPU time, waiting and curves; the figures are in the tables](performance.png)"


@dataclass(frozen=True)
class Measured:
    """A part that was measured: its rows and how long it took; `error` where it failed."""

    part: str
    what: str
    rows: Sequence[Row]
    seconds: float
    error: str | None = None

    def as_json(self) -> dict[str, object]:
        """The part for a script."""
        rows = [row.as_json() for row in self.rows]
        return {"part": self.part, "what": self.what, "seconds": round(self.seconds), "error": self.error, "rows": rows}


@dataclass
class Report:
    """Everything of one measurement; `machine` and `servers` say on what, `runs` and `commands` how much."""

    command: str
    commands: int
    runs: int
    machine: Mapping[str, object]
    servers: Mapping[str, str] = field(default_factory=dict)
    parts: list[Measured] = field(default_factory=list)

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by name."""
        return {row.name: row for part in self.parts for row in part.rows}

    def as_json(self) -> dict[str, object]:
        """The whole for a script."""
        return {
            "command": self.command,
            "commands_a_run": self.commands,
            "runs": self.runs,
            "machine": dict(self.machine),
            "servers": dict(self.servers),
            "bars": [judged.as_json() for judged in judge(self.rows)],
            "parts": [part.as_json() for part in self.parts],
        }


def as_tables(report: Report) -> list[Table]:
    """A table for each kind of figures, and the bars."""
    tables = [_table(title, lines) for title, lines in grouped(report.parts)]
    return [*tables, _table("bars", bar_cells(judge(report.rows)))]


def write_block(report: Report, page: Path) -> None:
    """Replace what stands between the two marks of `page`; ValueError where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}: put them where the figures belong")
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(report)}\n\n{END}{after}", encoding="utf-8")


def as_markdown(report: Report) -> str:
    """The bars, then a table for each kind of figures, then what failed."""
    blocks = [_conditions(report), CHART, "### Bars", _markdown(bar_cells(judge(report.rows)))]
    for title, lines in grouped(report.parts):
        blocks += [f"### {title}", _markdown(lines)]
    blocks += [f"Failed: {part.part}: {part.error}" for part in report.parts if part.error]
    return "\n\n".join(blocks)


def grouped(parts: Sequence[Measured]) -> list[tuple[str, list[list[str]]]]:
    """The cells of the parts' tables with their titles; parts with the same columns share one."""
    titles: dict[tuple[str, ...], list[str]] = {}
    lines: dict[tuple[str, ...], list[list[str]]] = {}
    for part in parts:
        if part.rows:
            header, *rest = cells(part.rows)
            titles.setdefault(tuple(header), []).append(part.part)
            lines.setdefault(tuple(header), [header]).extend(rest)
    return [(", ".join(titles[header]), lines[header]) for header in lines]


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The cells of the rows' table, the first line being its header; empty where a row has no such figure."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures if name not in RANGE))
    processes = list(dict.fromkeys(name for row in rows for name in row.cpu_us))
    first, *others = (name.replace("_", " ") for name in names)
    has_range = any(name in row.figures for row in rows for name in RANGE)
    header = ["", first, *(["lowest to highest"] if has_range else []), *others]
    header += [f"CPU {name}" for name in [*processes, "all"] if processes]
    return [header, *(_line(row, names, processes, has_range) for row in rows)]


def _line(row: Row, names: Sequence[str], processes: Sequence[str], has_range: bool) -> list[str]:
    first, *others = (number(row.figures[name]) if name in row.figures else "" for name in names)
    between = " to ".join(number(row.figures[name]) for name in RANGE if name in row.figures)
    cpu = [f"{row.cpu_us[name]:,.0f}" if name in row.cpu_us else "" for name in processes]
    total = f"{sum(row.cpu_us.values()):,.0f}" if row.cpu_us else ""
    return [row.what, first, *([between] if has_range else []), *others, *cpu, *([total] if processes else [])]


def bar_cells(bars: Sequence[Judged]) -> list[list[str]]:
    """The cells of the bars' table."""
    header = ["bar", "target", "measured", "reached"]
    return [header, *(_bar_line(judged) for judged in bars)]


def _bar_line(judged: Judged) -> list[str]:
    bar = judged.bar
    target = f"{'at most' if bar.at_most else 'at least'} {bar.target:g} {bar.unit}"
    measured = "not measured" if judged.measured is None else f"{number(judged.measured)} {bar.unit}"
    reached = {True: "yes", False: "no", None: ""}[judged.is_reached]
    return [bar.what, target, measured, reached]


def number(value: float) -> str:
    """Three digits that count, all of those before the point: 2,467 or 24.7 or 2.47."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _conditions(report: Report) -> str:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in dict(machine["packages"]).items())
    versions = ", ".join(f"{name} {version}" for name, version in report.servers.items())
    return (
        f"Measured {machine['measured_at']} with `{report.command}` on {machine['cores']} cores "
        f"({machine['processor']}, {machine['memory_gib']} GiB, {machine['kernel']}); load average before it "
        f"{machine['load_average_before']}. Medians of {report.runs} runs, {report.commands:,} commands a run.\n"
        f"Python {machine['python']}, {versions}; {packages}."
    )


def _table(title: str, lines: Sequence[Sequence[str]]) -> Table:
    header, *rest = lines
    table = Table(title=title, title_justify="left")
    table.add_column(header[0])
    for name in header[1:]:
        table.add_column(name, justify="right")
    for line in rest:
        table.add_row(*line)
    return table


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    header, *rest = lines
    ruler = f"|{' --- |'}{' ---: |' * (len(header) - 1)}"
    return "\n".join([f"| {' | '.join(header)} |", ruler, *(f"| {' | '.join(line)} |" for line in rest)])

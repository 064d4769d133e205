"""What was measured, told three ways: a table for the terminal, JSON for scripts, a block for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.parts import Measured

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Report:
    """Everything of one measurement; `machine` and `servers` say on what."""

    command: str
    machine: Mapping[str, object]
    servers: Mapping[str, str]
    parts: Sequence[Measured]

    @property
    def ratio(self) -> float | None:
        """The rate with delayed appends, in parts of the undelayed one; None where that was not measured."""
        rates = {measured.part: measured.rate for measured in self.parts}
        if "contention" not in rates:
            return None
        return rates["contention-delayed"] / rates["contention"]


def as_table(report: Report) -> Table:
    """The table for the terminal: a column for each part."""
    header, *rows = _cells(report.parts)
    table = Table(title_justify="left")
    table.add_column(header[0])
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def as_json(report: Report) -> dict[str, object]:
    """The same for a script; every run's rate, medians of the rest."""
    return {
        "command": report.command,
        "machine": dict(report.machine),
        "servers": dict(report.servers),
        "parts": [_part(measured) for measured in report.parts],
        "contention_ratio": report.ratio,
    }


def write_block(report: Report, page: Path) -> None:
    """Replace what stands between the two marks of `page`; ValueError where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}: put them where the figures belong")
    page.write_text(f"{before}{BEGIN}\n\n{_markdown(report)}\n\n{END}{after}", encoding="utf-8")


def _part(measured: Measured) -> dict[str, object]:
    return {
        "part": measured.part,
        "what": measured.what,
        "commands": measured.runs[0].commands,
        "commands_per_second": round(measured.rate),
        "commands_per_second_of_each_run": [round(run.rate) for run in measured.runs],
        "elasticsearch_behind_seconds": round(measured.catch_up_seconds, 2),
        "cpu_us_per_command": {name: round(value) for name, value in measured.cpu_us().items()},
    }


def _markdown(report: Report) -> str:
    machine, servers = report.machine, report.servers
    packages = ", ".join(f"{name} {version}" for name, version in dict(machine["packages"]).items())
    versions = ", ".join(f"{name} {version}" for name, version in servers.items())
    header, *rows = _cells(report.parts)
    lines = [
        f"Measured {machine['measured_at']} with `{report.command}` on {machine['cores']} cores "
        f"({machine['processor']}, {machine['memory_gib']} GiB, {machine['kernel']}); load average before it "
        f"{machine['load_average_before']}.",
        f"Python {machine['python']}, {versions}; {packages}.",
        "",
        f"| {' | '.join(header)} |",
        f"|{' --- |'}{' ---: |' * (len(header) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    if report.ratio is not None:
        lines += ["", f"Delayed appends against undelayed ones: {report.ratio:.2f} of the rate."]
    return "\n".join(lines)


def _cells(parts: Sequence[Measured]) -> list[list[str]]:
    """The table's cells, row by row, the first row being the header."""
    cpu = [measured.cpu_us() for measured in parts]
    rates = [[run.rate for run in measured.runs] for measured in parts]
    return [
        ["", *(measured.what for measured in parts)],
        ["commands/s, median", *(f"{measured.rate:,.0f}" for measured in parts)],
        ["lowest to highest", *(f"{min(each):,.0f} to {max(each):,.0f}" for each in rates)],
        ["Elasticsearch behind, s", *(f"{measured.catch_up_seconds:.1f}" for measured in parts)],
        *([f"CPU µs: {name}", *(f"{each[name]:.0f}" for each in cpu)] for name in cpu[0]),
        ["CPU µs: all", *(f"{sum(each.values()):.0f}" for each in cpu)],
    ]

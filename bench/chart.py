"""The chart in docs/: rates against the baseline, where the CPU time goes, waiting by load, and the curves.

Drawn from the JSON of a report alone, so it shows nothing else than that: `python -m bench.chart FILE.json FILE.png`
draws it again. A panel whose part was not measured stays empty.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.results import RATE

Rows = Mapping[str, Mapping[str, Any]]

SIZE_INCHES = (15, 8.5)
DOTS_PER_INCH = 110
OURS, THEIRS, BOUND = "#1f5fa8", "#9aa3ad", "#c9a227"
RATES = {
    "baseline_uniform": ("baseline, transfers", THEIRS),
    "baseline_hot": ("baseline, one wallet", THEIRS),
    "uniform": ("transfers", OURS),
    "zipf": ("transfers, Zipf", OURS),
    "hot": ("credits, one wallet", OURS),
    "holds": ("holds", OURS),
    "duplicates": ("duplicates", OURS),
    "floor_one_at_a_time_16": ("Postgres alone, one by one", BOUND),
    "floor_batches": ("Postgres alone, batches", BOUND),
}
CPU = {name: label for name, (label, color) in RATES.items() if color == OURS}
PROCESSES = {
    "worker": OURS,
    "projector": "#6fa8dc",
    "Postgres": "#4b8b5a",
    "Kafka": "#d98032",
    "stand-in": "#8c6bb1",
    "Elasticsearch": "#c9a227",
    "load": "#c4c9cf",
}
HEADROOM = 1.1
LOADS = (25, 50, 75)
LATENCIES = {
    "reply_p50_ms": ("reply, p50", "#6fa8dc", "-"),
    "reply_p99_ms": ("reply, p99", OURS, "-"),
    "reply_p99.9_ms": ("reply, p99.9", "#0b2f5b", "-"),
    "visible_p50_ms": ("visible, p50", "#e3c567", "--"),
    "visible_p99_ms": ("visible, p99", "#b8860b", "--"),
}
CURVES = {
    "batch": "commands in a batch, at most",
    "depth": "batches between two stages",
    "partitions": "partitions",
}


def write_chart(report: Mapping[str, Any], file: Path) -> None:
    """Draw the report, as its JSON has it, into a PNG file."""
    rows: Rows = {row["name"]: row for part in report["parts"] for row in part["rows"]}
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    panels = figure.subplots(2, 3)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    rates, cpu, latency = panels[0]
    _draw_rates(rates, rows)
    _draw_cpu(cpu, rows)
    _draw_latency(latency, rows)
    highest = max((rate for name in CURVES for _, rate in _points(rows, name)), default=0)
    for panel, name in zip(panels[1], CURVES, strict=True):
        _draw_curve(panel, rows, name, highest)
    machine = report["machine"]
    figure.suptitle(
        f"{machine['measured_at']}, {machine['cores']} cores for everything, medians of {report['runs']} runs", size=11
    )
    figure.savefig(file, dpi=DOTS_PER_INCH)


def _draw_rates(panel: Axes, rows: Rows) -> None:
    found = [name for name in RATES if name in rows]
    values = [rows[name]["figures"][RATE] for name in found]
    if not found:
        _leave_empty(panel)
        return
    bars = panel.barh([RATES[name][0] for name in found], values, color=[RATES[name][1] for name in found])
    panel.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=3, size=9)
    panel.margins(x=0.15)
    panel.invert_yaxis()
    panel.set_title("commands a second", loc="left")


def _draw_cpu(panel: Axes, rows: Rows) -> None:
    found = [name for name in CPU if name in rows]
    if not found:
        _leave_empty(panel)
        return
    left = [0.0] * len(found)
    for process, color in PROCESSES.items():
        values = [rows[name]["cpu_us"].get(process, 0) for name in found]
        panel.barh([CPU[name] for name in found], values, left=left, color=color, label=process)
        left = [before + value for before, value in zip(left, values, strict=True)]
    panel.invert_yaxis()
    panel.set_title("CPU µs a command, by process", loc="left")
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=4)


def _draw_latency(panel: Axes, rows: Rows) -> None:
    loads = [load for load in LOADS if f"latency_{load}" in rows]
    if not loads:
        _leave_empty(panel)
        return
    for figure, (label, color, style) in LATENCIES.items():
        values = [rows[f"latency_{load}"]["figures"][figure] for load in loads]
        panel.plot(loads, values, color=color, linestyle=style, marker="o", markersize=4, label=label)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(loads, [f"{load} %" for load in loads])
    panel.set_xlabel("of capacity")
    panel.set_title("ms from due to …", loc="left")
    panel.legend(frameon=False, fontsize=8)


def _draw_curve(panel: Axes, rows: Rows, constant: str, highest: float) -> None:
    points = _points(rows, constant)
    if not points:
        _leave_empty(panel)
        return
    # As places in a row: the steps are what was chosen, not what lies between them.
    panel.plot([f"{x:g}" for x, _ in points], [rate for _, rate in points], color=OURS, marker="o", markersize=4)
    panel.set_ylim(0, highest * HEADROOM)
    panel.set_xlabel(CURVES[constant])
    panel.set_title("commands a second", loc="left")


def _points(rows: Rows, constant: str) -> Sequence[tuple[float, float]]:
    found = [row for row in rows.values() if constant in row["chosen"]]
    return sorted((row["chosen"][constant], row["figures"][RATE]) for row in found)


def _leave_empty(panel: Axes) -> None:
    panel.set_axis_off()


if __name__ == "__main__":
    write_chart(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))

"""The report: tables, JSON, the block in the page, the chart; with parts that failed or were not asked for."""

from __future__ import annotations

import json

import pytest

from bench.chart import CURVES, write_chart
from bench.parts import PARTS, in_order
from bench.report import BEGIN, END, Measured, Report, as_markdown, as_tables, cells, grouped, number, write_block
from bench.results import RATE, Row

MACHINE = {
    "measured_at": "2026-11-22 12:00 UTC",
    "processor": "a processor",
    "cores": 2,
    "memory_gib": 24,
    "kernel": "Linux 6.18",
    "load_average_before": 0.1,
    "python": "3.11.7",
    "packages": {"orjson": "3.13.0"},
}
UNIFORM = Row("uniform", "transfers", {RATE: 2000, "lowest": 1900, "highest": 2100}, {"worker": 100.4, "load": 20.4})
PNG = b"\x89PNG\r\n\x1a\n"


def a_report(*parts):
    """A report of these parts."""
    return Report("python -m bench", 30_000, 3, MACHINE, {"Postgres": "18.4"}, list(parts))


def test_a_table_has_a_line_a_row_and_the_sum_of_the_cpu_time():
    """A figure that a row does not have is left empty."""
    other = Row("start", "start", {"first_reply_s": 1.25})

    found = cells([UNIFORM, other])

    assert found == [
        ["", "commands per s", "lowest to highest", "first reply s", "CPU worker", "CPU load", "CPU all"],
        ["transfers", "2,000", "1,900 to 2,100", "", "100", "20", "121"],
        ["start", "", "", "1.25", "", "", ""],
    ]


@pytest.mark.parametrize(
    ("value", "written"), [(2467.4, "2,467"), (24.68, "24.7"), (2.468, "2.47"), (3.0, "3"), (0, "0"), (0.004, "0.00")]
)
def test_numbers_are_written_with_the_digits_that_count(value, written):
    """A rate needs no decimals, a ratio needs two."""
    found = number(value)

    assert found == written


def test_a_part_that_failed_is_told_beside_those_that_did_not():
    """The others' figures are not lost, and the failure is in every form of the report."""
    report = a_report(Measured("uniform", "x", [UNIFORM], 60), Measured("hot", "y", [], 1, "LoadError: no reply"))

    told = report.as_json()

    assert [(part["part"], part["error"]) for part in told["parts"]] == [
        ("uniform", None),
        ("hot", "LoadError: no reply"),
    ]
    assert told["parts"][0]["rows"][0]["figures"][RATE] == 2000
    assert "Failed: hot: LoadError: no reply" in as_markdown(report)
    assert [table.title for table in as_tables(report)] == ["uniform", "bars"]
    json.dumps(told)


def test_parts_with_the_same_columns_share_a_table():
    """What may be compared stands together."""
    start = Row("start", "start", {"first_reply_s": 1.25})
    other = Row("zipf", "by Zipf's law", UNIFORM.figures, UNIFORM.cpu_us)
    parts = [
        Measured("uniform", "x", [UNIFORM], 1),
        Measured("start", "y", [start], 1),
        Measured("zipf", "z", [other], 1),
    ]

    found = grouped(parts)

    assert [title for title, _ in found] == ["uniform, zipf", "start"]
    assert [line[0] for line in found[0][1]] == ["", "transfers", "by Zipf's law"]


def test_the_block_is_replaced_and_the_rest_of_the_page_stays(tmp_path):
    """Written twice, it is there once."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    report = a_report(Measured("uniform", "x", [UNIFORM], 60))

    write_block(report, page)
    write_block(report, page)

    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert text.count("| transfers | 2,000 |") == 1
    assert "old" not in text


def test_a_page_without_the_marks_is_refused(tmp_path):
    """Rather than writing the figures somewhere."""
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")

    with pytest.raises(ValueError, match="has no lines"):
        write_block(a_report(), page)


def test_the_chart_is_drawn_from_the_json_alone(tmp_path):
    """Of whatever was measured: of all panels, or of none."""
    waiting = {f"{what}_{share}_ms": 10.0 for what in ("reply", "visible") for share in ("p50", "p99", "p99.9")}
    rows = [UNIFORM, *(Row(f"latency_{load}", "open loop", waiting) for load in (25, 50, 75))]
    rows += [Row(f"{name}_{value}", name, {RATE: 1000.0}, {}, {name: value}) for name in CURVES for value in (4, 12)]
    full, empty = a_report(Measured("uniform", "x", rows, 60)), a_report()

    for name, report in {"full": full, "empty": empty}.items():
        write_chart(json.loads(json.dumps(report.as_json())), tmp_path / f"{name}.png")

    assert all((tmp_path / f"{name}.png").read_bytes().startswith(PNG) for name in ("full", "empty"))


def test_a_part_brings_along_those_that_it_is_compared_with():
    """In the order that they run, whatever the order they were asked for."""
    found = in_order(["baseline", "uniform"])

    assert found == ["uniform", "hot", "baseline"]
    assert in_order([]) == list(PARTS)

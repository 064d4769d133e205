"""A statement as CSV: whatever a sender wrote as a reference is text in one cell of one row."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from worker.audit.statement import Line
from worker.cli.statement import CSV_COLUMNS, _print_csv


def line(reference: str | None) -> Line:
    money = Decimal("5.0000")
    fields = dict.fromkeys(Line._fields) | {"balance": money, "held": money * 0, "available": money}
    return Line(**fields | {"occurred_at": "2026-11-22T12:00:00Z", "version": 1, "reference": reference})


async def printed(capsys: pytest.CaptureFixture[str], *references: str | None) -> str:
    async def lines() -> AsyncIterator[Line]:
        for reference in references:
            yield line(reference)

    await _print_csv(lines())
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "cell"),
    [
        ("order-17", "order-17"),
        ("a=b+c-d@e", "a=b+c-d@e"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20x", "'\uff20x"),
        ("x\r=1+1", "x\r'=1+1"),
        ("x\n=1+1", "x\n'=1+1"),
        ("x\r\n@a\r\n-b\r\nc", "x\r\n'@a\r\n'-b\r\nc"),
        ("x\u2028\uff1d1", "x\u2028'\uff1d1"),
        ("x;=1+1", "x;'=1+1"),
        ('say "=1", then', 'say "=1", then'),
    ],
)
async def test_a_reference_is_one_cell_and_no_formula(capsys, reference, cell):
    """Not in full width either, nor behind a line break: one row, whatever Python's version quotes."""
    text = await printed(capsys, reference)

    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["reference"] for row in rows] == [cell]
    assert rows[0]["commandId"] == ""


@pytest.mark.parametrize("line_break", ["\r", "\n", "\r\n"])
async def test_a_line_break_is_quoted(capsys, line_break):
    """A reader that ends a row at each of them sees the quotes first."""
    text = await printed(capsys, f"a{line_break}b")

    assert f',"a{line_break}b",' in text


async def test_rows_end_as_lines_do(capsys):
    """With a line feed alone, for other programs in a pipe."""
    text = await printed(capsys, None, "r")

    heading, first, second, nothing = text.split("\n")
    assert heading == ",".join(CSV_COLUMNS)
    assert (len(first.split(",")), second.split(",")[-2], nothing) == (len(CSV_COLUMNS), "r", "")
    assert "\r" not in text

"""What an operator reads: each log line of ours stands in docs/operating.md, and none there that is never said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import worker
from worker.lease import Standing

ROOT = Path(worker.__file__).parent
DOCUMENT = ROOT.parent / "docs" / "operating.md"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def said() -> Iterator[str]:
    """Every constant with which `log.info` and its like are called."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and (node.func.value.id, node.func.attr in LEVELS) == ("log", True)
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} has no constant event"
                yield node.args[0].value


def documented() -> set[str]:
    """The events in the first column of the table of log lines."""
    table = DOCUMENT.read_text().partition("| event |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def test_the_table_of_log_lines_is_complete_and_true() -> None:
    """A line that nobody can look up is no help at three in the morning; one that never comes is worse."""
    events = {*said(), *(standing.value for standing in Standing)}

    assert len(events) > 30
    assert documented() == events

"""`python -m chaos.document`: what the runs in docs/chaos/ came to, into docs/reliability.md and the README's table.

Between two marks in each of them stands nothing but what comes from these summaries, which `make chaos` writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from chaos.faults import GROUPS
from chaos.summary import PROJECT, Summary, markdown, struck, table

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
SUMMARIES = PROJECT / "docs" / "chaos"
COLUMNS = ("fault", "promised", "run", "how often", "seen")


def main() -> int:
    """Fill both documents."""
    for document, text in documented(SUMMARIES).items():
        fill(document, text)
    return 0


def documented(folder: Path) -> dict[Path, str]:
    """What each of the documents must say of the summaries in `folder`."""
    summaries = [json.loads(file.read_text()) for file in sorted(folder.glob("seed-*.json"))]
    if not summaries:
        raise SystemExit(f"{folder} has no summary of a run: expected seed-*.json, as `make chaos` writes them")
    return {PROJECT / "docs" / "reliability.md": markdown(summaries), PROJECT / "README.md": overview(summaries)}


def fill(document: Path, text: str) -> None:
    """Put `text` between the marks of `document`, which must be there."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{document} lacks {BEGIN} and {END}: expected both, in this order")
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def overview(summaries: Sequence[Summary]) -> str:
    """One line for each group of faults: promised, run, how often, seen."""
    commands = sum(one["records"] for one in summaries)
    violations = sum(len(one["violations"]) for one in summaries)
    lines = table(COLUMNS, [_line(group, summaries) for group in GROUPS], numbers=())
    runs = ", ".join(f"`{one['command']}`" for one in summaries)
    return "\n".join([*lines, "", f"{runs}: {commands:,} records in all, {violations} violations."])


def _line(name: str, summaries: Sequence[Summary]) -> tuple[str, ...]:
    group = GROUPS[name]
    kinds = {fault.kind.name for fault in group.faults}
    found = {kind: steps for kind, steps in struck(summaries).items() if kind in kinds}
    absent = f", all but {', '.join(sorted(kinds - found.keys()))}" if found and kinds - found.keys() else ""
    run = f"{len(found)} of {len(kinds)} kinds{absent}: {group.run}"
    steps = [step for one in found.values() for step in one]
    return name, group.promised, run, str(len(steps)), _seen(steps)


def _seen(steps: Sequence[Mapping[str, Any]]) -> str:
    if not steps:
        return "not run"
    return "; ".join(
        f"{what} {_after([step[name] for step in steps])}"
        for name, what in (("all_answered_s", "everything answered"), ("documents_s", "documents complete"))
    )


def _after(seconds: Sequence[float | None]) -> str:
    came = [one for one in seconds if one is not None]
    if len(came) < len(seconds):
        return f"{len(seconds) - len(came)} times not within its limit"
    return f"after {median(came):.1f} s (median), {max(came):.1f} s (worst)"


if __name__ == "__main__":
    sys.exit(main())

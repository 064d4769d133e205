"""`python -m chaos.document SUMMARY.json …`: what some runs came to, into docs/reliability.md and the README's table.

Between two marks in each of them stands nothing but what comes from the summaries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from chaos.faults import GROUPS
from chaos.summary import Summary, markdown, table

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
PROJECT = Path(__file__).parents[1]
COLUMNS = ("fault", "promised", "run", "how often", "seen")


def main() -> int:
    """Fill both documents from the files that are named."""
    summaries = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if not summaries:
        print("usage: python -m chaos.document SUMMARY.json …; expected at least one summary of a run", file=sys.stderr)  # noqa: T201
        return 64
    fill(PROJECT / "docs" / "reliability.md", markdown(summaries))
    fill(PROJECT / "README.md", overview(summaries))
    return 0


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
    steps = [
        step for one in summaries for step in one["faults"] if kinds & {strike["kind"] for strike in step["faults"]}
    ]
    struck = [strike["kind"] for step in steps for strike in step["faults"] if strike["kind"] in kinds]
    run = f"{len(set(struck))} of {len(kinds)} kinds: {group.run}"
    return name, group.promised, run, str(len(struck)), _seen(steps)


def _seen(steps: Sequence[Summary]) -> str:
    answered = [step["all_answered_s"] for step in steps]
    if not answered:
        return "not run"
    if None in answered:
        return f"{answered.count(None)} times not recovered"
    return f"everything answered after {median(answered):.1f} s (median), {max(answered):.1f} s (worst)"


if __name__ == "__main__":
    sys.exit(main())

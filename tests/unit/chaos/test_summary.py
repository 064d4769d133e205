"""What is told of a run: figures, recoveries by kind, and how to look at what went wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence

from chaos.__main__ import _conclude
from chaos.conduct import Happened, Recovery
from chaos.schedule import Strike
from chaos.summary import Order, figures, markdown, recoveries, save, summarize
from chaos.verdict import Verdict

ORDER = Order("abc1234", 7, 2.0, "2026-11-23T01:00:00+00:00")


def happened(first: float | None, answered: float | None, *kinds: str, missed: Sequence[str] = ()) -> Happened:
    strikes = tuple(Strike(kind, "kafka", 2.0, 1) for kind in kinds)
    recovery = Recovery(first, answered, None if answered is None else answered + 1)
    return Happened(strikes, recovery, tuple(strike for strike in strikes if strike.kind in missed))


def summary_of(*steps: Happened, violations=()):
    verdict = Verdict(violations=list(violations), records=1_200, ran=1_000, repeated=200)
    return summarize(ORDER, happened=steps, rest_s=3.21, offset_checks=len(steps), verdict=verdict)


def test_recoveries_are_told_by_kind_with_median_and_worst():
    """Faults that struck together count for each of them."""
    one = summary_of(happened(0.1, 1.0, "kill"), happened(0.2, 5.0, "kill", "cut"))
    other = summary_of(happened(0.3, 2.0, "kill"))

    rows = recoveries([one, other])

    assert rows == [
        ("cut", "1", "0.2 s", "0.2 s", "5.0 s", "5.0 s", "6.0 s", "6.0 s"),
        ("kill", "3", "0.2 s", "0.3 s", "2.0 s", "5.0 s", "3.0 s", "6.0 s"),
    ]


def test_a_fault_that_befell_nobody_is_not_counted():
    """The one that struck with it is."""
    assert [row[:2] for row in recoveries([summary_of(happened(0.1, 1.0, "kill", "cut", missed=["cut"]))])] == [
        ("kill", "1")
    ]


def test_a_recovery_that_did_not_come_is_said():
    """It has no seconds."""
    (row,) = recoveries([summary_of(happened(1.0, 2.0, "kill"), happened(None, None, "kill"))])

    assert row == ("kill", "2", "1.0 s", "never", "2.0 s", "never", "3.0 s", "never")


def test_the_figures_of_several_runs_are_added_up():
    """As the documentation shows them; the worst rest counts."""
    found = dict(figures([summary_of(), summary_of(violations=["money is gone"])]))

    assert (found["records sent"], found["duplicates absorbed"], found["violations"]) == ("2,400", "400", "1")
    assert found["at rest after the last fault, at most"] == "3 s"


def test_a_summary_in_a_file_gives_the_same_tables(tmp_path):
    """JSON keeps all that the documentation needs, the command among it."""
    summary = summary_of(happened(0.1, 1.0, "kill"))

    save(summary, tmp_path / "new" / "summary.json")
    read = json.loads((tmp_path / "new" / "summary.json").read_text())

    assert markdown([read]) == markdown([summary])
    assert "`make chaos SEED=7 MINUTES=2` (2026-11-23, abc1234, " in markdown([read])
    assert "| kill | 1 | 0.1 s | 0.1 s | 1.0 s | 1.0 s | 2.0 s | 2.0 s |" in markdown([read])


def test_a_violation_ends_in_1_and_tells_how_to_run_it_again(tmp_path, capsys):
    """With the violation, the code, the command and the place of the logs, which stay."""
    assert _conclude(summary_of(violations=["money is gone"]), tmp_path) == 1

    said = capsys.readouterr().out
    assert "money is gone" in said and "git checkout abc1234; make chaos SEED=7 MINUTES=2" in said
    assert str(tmp_path) in said
    assert tmp_path.exists()


def test_a_clean_run_ends_in_0_and_leaves_nothing(tmp_path):
    """Nobody needs its data."""
    assert _conclude(summary_of(), tmp_path) == 0

    assert not tmp_path.exists()

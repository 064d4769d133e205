"""The documents are filled from the runs, and from nothing else."""

from __future__ import annotations

import pytest

from chaos.document import BEGIN, END, SUMMARIES, documented, fill, overview
from chaos.faults import FAULTS, GROUPS


def summary_of(*kinds: str, answered: float | None = 2.0):
    seconds = {"first_reply_s": 1.0, "all_answered_s": answered, "documents_s": 3.0}
    steps = [{"faults": [{"kind": kind, "missed": False}], **seconds} for kind in kinds]
    return {"command": "make chaos SEED=7 MINUTES=2", "records": 100, "violations": [], "faults": steps}


def test_what_stands_between_the_marks_is_replaced(tmp_path):
    """And nothing else, however often."""
    document = tmp_path / "document.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")

    fill(document, "first")
    fill(document, "second")

    assert document.read_text() == f"before\n{BEGIN}\nsecond\n{END}\nbehind\n"


def test_a_document_without_marks_is_refused(tmp_path):
    """It says what was expected."""
    document = tmp_path / "document.md"
    document.write_text(BEGIN)

    with pytest.raises(SystemExit, match="expected both"):
        fill(document, "text")

    assert document.read_text() == BEGIN


def test_each_group_of_faults_has_its_line_with_what_was_seen():
    """How often its faults struck, and how long recovery took; of those that did not strike it is said."""
    lines = overview([summary_of("kill a worker", "kill a worker", "flushed redis"), summary_of("flushed redis")])

    seen = "everything answered after 2.0 s (median), 2.0 s (worst); documents complete after 3.0 s"
    assert f"| 2 | {seen} (median), 3.0 s (worst) |" in lines
    assert "| 1 of 2 kinds, all but lying redis: " in lines
    assert lines.count("| 0 | not run |") == len(GROUPS) - 2
    assert "200 records in all, 0 violations." in lines


def test_a_fault_that_was_not_recovered_from_is_not_hidden_by_others():
    """It is what was seen."""
    assert "everything answered 1 times not within its limit" in overview([summary_of("kill a worker", answered=None)])


def test_every_fault_is_in_one_group():
    """None is left out of the tables, none is counted twice."""
    assert sum(len(group.faults) for group in GROUPS.values()) == len({fault.kind.name for fault in FAULTS})


def test_the_documents_say_what_the_runs_came_to():
    """Word for word, from the summaries beside them: nobody wrote the tables by hand."""
    for document, text in documented(SUMMARIES).items():
        assert f"{BEGIN}\n{text}\n{END}" in document.read_text()


def test_a_folder_without_summaries_is_refused(tmp_path):
    """It says what was expected; the documents stay as they are."""
    with pytest.raises(SystemExit, match=r"expected seed-\*\.json"):
        documented(tmp_path)

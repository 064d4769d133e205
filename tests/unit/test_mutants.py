"""The table of mutants fits the code, and what runs a mutant runs that one and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mutants.errors import MutantsError
from mutants.mutant import Mutant, faults_of
from mutants.table import MUTANTS
from mutants.tree import PROJECT, copy_tree, mutated, prove_isolation

FITTING = MUTANTS[0]


def test_every_mutant_fits_the_code():
    """Its old text stands once in its file, and the tests that are to notice it are there."""
    faults = [fault for mutant in MUTANTS for fault in faults_of(mutant, PROJECT)]

    assert faults == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.tests for mutant in MUTANTS)


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (replace(FITTING, old="no such text"), "stands 0 times"),
        (replace(FITTING, old="connection"), "expected once"),
        (replace(FITTING, file="worker/gone.py"), "stands 0 times in worker/gone.py"),
        (replace(FITTING, new=FITTING.old), "another new text"),
        (replace(FITTING, tests=("tests/unit/test_gone.py::test_it",)), "no test tests/unit/test_gone.py::test_it"),
        (replace(FITTING, tests=("tests/unit/test_mutants.py::test_gone[a]",)), "no test"),
    ],
)
def test_what_does_not_fit_the_code_is_named(unfit: Mutant, said: str):
    """The table must follow the code: one line says which mutant, and what about it."""
    (fault,) = faults_of(unfit, PROJECT)

    assert fault.startswith(f"{unfit.name}: ")
    assert said in fault


def test_a_copy_runs_its_own_code_and_a_mutant_stands_in_it_for_one_block(tmp_path):
    """What is changed is the copy alone; one whose processes run other code would prove nothing, and is refused."""
    copy_tree(tmp_path)
    file, original = tmp_path / FITTING.file, (PROJECT / FITTING.file).read_text()

    with mutated(tmp_path, FITTING):
        changed = file.read_text()

    assert changed == original.replace(FITTING.old, FITTING.new) != original
    assert file.read_text() == original
    (links,) = tmp_path.glob(".venv/lib/python*/site-packages/mutants.pth")
    links.write_text(f"{PROJECT}\n{links.read_text()}")
    with pytest.raises(MutantsError, match="does not run its own code"):
        prove_isolation(tmp_path)

"""Run chosen tests in the copy, up to the first that fails.

Only a test that ran and failed counts as having noticed; one that hangs fails by its time limit. A run that could not
begin, servers that did not start and a module that does not import say nothing about the tests, and are errors.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devstack.stack import Stack
from mutants.errors import MutantsError
from mutants.tree import interpreter

RUN_TIMEOUT_S = 1800.0
INTERLEAVE_SEEDS = "1-2000"
"""Within so many scenes the interleaving explorer must find what it is to notice."""
OUTPUT_CHARACTERS_MAX = 4000
PASSED, FAILED = 0, 1
"""pytest's exit codes."""

# One after another and in their own order: what a mutant is killed by is to be the same each time.
PYTEST = ["-m", "pytest", "-n0", "-x", "-q", "-rf", "--tb=short", "-p", "no:randomly", "-p", "no:cacheprovider"]
FAILED_LINE = "FAILED "


def first_failure(root: Path, tests: Iterable[str]) -> str | None:
    """The first of `tests` that fails in the copy in `root`, as a pytest id; None where all pass.

    The servers that it starts stay up for the next run (`stop_servers`). Raises `MutantsError` where the run itself
    went wrong.
    """
    chosen = list(dict.fromkeys(tests))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(  # noqa: S603
            [interpreter(root), *PYTEST, *chosen],
            cwd=root,
            env={**environment, "WALLEX_KEEP_STACK": "1", "WALLEX_INTERLEAVE_SEEDS": INTERLEAVE_SEEDS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MutantsError(f"the tests did not end within {RUN_TIMEOUT_S:g} s: {', '.join(chosen)}") from error
    if done.returncode == PASSED:
        return None
    failures = [line for line in done.stdout.splitlines() if line.startswith(FAILED_LINE)]
    if done.returncode != FAILED or not failures:
        raise MutantsError(f"the tests could not be run; pytest said:\n{done.stdout[-OUTPUT_CHARACTERS_MAX:]}")
    return failures[0].removeprefix(FAILED_LINE).split(" - ")[0]


def stop_servers(root: Path) -> None:
    """Stop the servers that the tests left running."""
    Stack(root / ".devstack-tests").down()

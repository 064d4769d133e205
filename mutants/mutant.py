"""What a mutant is, and whether it still fits the code: a table that no longer does is an error, never skipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """A safeguard that is taken out: in `file`, the text `old`, which stands there once, becomes `new`.

    `takes_out` says in a few words what is missing then. `tests` are the pytest ids of those that are to notice, the
    cheapest ones that hold the promise; paths are relative to the project's folder.
    """

    name: str
    takes_out: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def faults_of(mutant: Mutant, root: Path) -> Iterator[str]:
    """What of `mutant` does not fit the tree in `root`, a line each; nothing where all is well."""
    file = root / mutant.file
    found = file.read_text(encoding="utf-8").count(mutant.old) if file.is_file() else 0
    if found != 1 or mutant.old == mutant.new:
        yield (
            f"{mutant.name}: its old text stands {found} times in {mutant.file}, expected once, and another new text; "
            "the code has changed: change the table with it"
        )
    for test in mutant.tests:
        if not _is_there(test, root):
            yield f"{mutant.name}: no test {test}; name one that holds the promise"


def _is_there(test: str, root: Path) -> bool:
    """Whether a pytest id names a test function that stands in its file; its parameters are not looked at."""
    path, _, function = test.partition("[")[0].partition("::")
    file = root / path
    if not file.is_file():
        return False
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return function in {
        node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, functions)
    }

"""The code stays readable in one sitting: limits on files and functions in worker/, and what never stands there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import worker

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70

ROOT = Path(worker.__file__).parent
GENERATED = ROOT / "outbox" / "protos"


def sources() -> Iterator[Path]:
    return (path for path in ROOT.rglob("*.py") if GENERATED not in path.parents)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_longer_than_one_sitting() -> None:
    """A file of worker/ has at most 300 lines."""
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}

    too_long = {str(path): length for path, length in lengths.items() if length > FILE_LINES_MAX}

    assert len(lengths) > 30
    assert not too_long


def test_no_function_does_too_much() -> None:
    """A function of worker/ has at most 70 lines."""
    found = [(path, node, node.end_lineno - node.lineno + 1) for path in sources() for node in functions(path)]

    too_long = [
        f"{path}: {node.name} has {length} lines" for path, node, length in found if length > FUNCTION_LINES_MAX
    ]

    assert len(found) > 200
    assert not too_long


def test_every_module_says_what_it_does() -> None:
    """Each module opens with a docstring, but for the empty ones that make a folder a package."""
    modules = {path: ast.parse(path.read_text()) for path in sources()}

    silent = [str(path) for path, module in modules.items() if module.body and ast.get_docstring(module) is None]

    assert not silent


def test_money_never_meets_a_float() -> None:
    """No module of contracts, domain or ledger calls `float`: a binary float is not money."""
    stages = ("contracts", "domain", "ledger")
    names = {
        (path, node.func.id)
        for path in sources()
        if path.relative_to(ROOT).parts[0] in stages
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert {name for _, name in names} >= {"isinstance"}
    assert not [path for path, name in names if name == "float"]


def test_the_command_line_prints_in_one_place() -> None:
    """`worker/cli/output.py` escapes what a stranger wrote and a terminal would act upon; nobody goes around it.

    Besides it print only those that show the installation's own files and migrations.
    """
    printing = {
        path.stem
        for path in (ROOT / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "typer.secho")
    }

    assert "output" in printing
    assert printing <= {"output", "__init__", "migrate", "schemas"}

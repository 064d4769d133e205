"""The command line itself: help, version, wrong usage, wrong environment; the groups have tests of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from worker.cli import GROUPS, run


def test_help_lists_every_group(capsys):
    """`wallex` and `wallex --help` say what there is."""
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0

    assert capsys.readouterr().out == bare
    assert all(name in bare for name in GROUPS)


def test_help_imports_no_group():
    """Help is quick because nothing is imported for it: neither a group nor a client of any server."""
    look = (
        "import sys; from worker.cli import run; run(['--help']);"
        "heavy = {'aiokafka', 'asyncpg', 'sqlalchemy', 'elasticsearch', 'grpc', 'faststream', 'alembic'};"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )

    finished = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr


def test_the_version_is_the_packages(capsys):
    """`wallex --version` is what bug reports begin with."""
    assert run(["--version"]) == 0

    assert capsys.readouterr().out == "wallex 0.1.0\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["migrate"], ["migrate", "nonsense"]])
def test_wrong_usage_is_one_line_and_exit_code_64(arguments, capsys):
    """64 is EX_USAGE: a script tells it from a rejected command."""
    assert run(arguments) == 64

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("wallex: ")
    assert said.err.count("\n") == 1


def test_a_wrong_environment_is_one_line_and_exit_code_64(monkeypatch, capsys):
    """No traceback: the variable's name, what it was, what is expected."""
    monkeypatch.setenv("DB_PORT", "many")

    assert run(["migrate", "show"]) == 64

    assert capsys.readouterr().err.startswith("wallex: wrong settings: DB_PORT='many': expected")


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_has_its_module(name):
    """A line in the table of groups is a promise that the command exists."""
    assert find_spec(f"worker.cli.{name}") is not None

"""The demo as a whole: a short performance, and what is left of it afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devstack.stack import Stack

PROJECT = Path(__file__).parents[2]
COMMANDS = 200


def _perform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", "--commands", str(COMMANDS), "--folder", str(folder), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(240)  # it starts five servers of its own
def test_the_demo_ends_well_and_stops_what_it_started(tmp_path):
    """Exit code 0: every record got its one right reply and all stores agree; afterwards no server runs."""
    done = _perform(tmp_path / "stack", "--seed", "7")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the forgotten hold expired by itself" in done.stdout
    assert "All is well" in done.stdout
    assert {server.state for server in Stack(tmp_path / "stack").status()} == {"stopped"}


def test_the_demo_touches_no_folder_that_holds_something(tmp_path):
    """A folder that is not the demo's own and not empty is refused, untouched."""
    precious = tmp_path / "precious"
    precious.write_text("data")

    done = _perform(tmp_path)

    assert done.returncode == 1
    assert "is not empty" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["precious"]

"""A short run of chaos, as a user would start it: real faults under load, and nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.summary import struck

PROJECT = Path(__file__).parents[2]
SEED, STEPS = 38311, 5
"""It begins with faults of many sorts that are short: lost answers, a crash between two stores, a wiped index."""
KINDS_MIN = 4


@pytest.mark.timeout(300)  # it starts five servers and six processes of its own
def test_a_short_run_of_chaos_breaks_no_invariant(tmp_path):
    """Exit code 0: faults struck, commands ran all the while, and every store says the same in the end."""
    kept = tmp_path / "summary.json"
    command = [sys.executable, "-m", "chaos", "--seed", str(SEED), "--minutes", "0", "--steps", str(STEPS)]

    done = subprocess.run([*command, "--summary", str(kept)], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No invariant was broken." in done.stdout
    summary = json.loads(kept.read_text())
    assert summary["violations"] == []
    assert summary["ran"] > 0 and summary["events"] > 0
    assert len(struck([summary])) >= KINDS_MIN
    assert summary["offset_checks"] == len(summary["faults"])

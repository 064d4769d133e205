"""The interleaving explorer: its fixed part is clean, and a scene runs again alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interleave.explore import Process
from interleave.scene import draw
from interleave.servers import open_servers

PROJECT = Path(__file__).parents[2]
SEEDS = os.environ.get("WALLEX_INTERLEAVE_SEEDS", "1-100")
"""The fixed part; `make mutants` asks for more."""


@pytest.mark.timeout(1500)
def test_small_scenes_end_as_if_run_one_after_another_whatever_the_order_and_the_faults():
    """Two or three cores and a direct caller, step by step in an order that the seed draws, with faults."""
    done = subprocess.run(
        [sys.executable, "-m", "interleave", "--as-found", "--seeds", SEEDS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_scene_runs_again_alike():
    """By its seed, and by the choices that were made: step by step the same, though its wallets have other ids."""
    seeds = range(1, 13)
    with open_servers() as environment, Process(environment) as process:
        first = [process.run(draw(seed)) for seed in seeds]
        second = [process.run(draw(seed)) for seed in seeds]
        third = [process.run(draw(seed), result.choices) for seed, result in zip(seeds, first, strict=True)]

    assert [result.trace for result in second] == [result.trace for result in first]
    assert [result.trace for result in third] == [result.trace for result in first]
    assert any("->" in step for result in first for step in result.trace)

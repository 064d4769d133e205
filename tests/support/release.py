"""A release of Wallex as it was at a commit, to run beside the code as it is."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

START = "import sys; from worker.cli import main; sys.argv[0] = 'wallex'; main()"


class Release:
    """The package `worker` of a commit, unpacked; `command` starts its `wallex worker` with `environment`."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"PYTHONPATH": str(folder)}
        # -P: the folder in which the tests run has a `worker` too, and would come first.
        self._python = (sys.executable, "-P", "-c")
        self.command = (*self._python, START, "worker")

    def where(self) -> str:
        """Where its processes find the package `worker`."""
        told = "import worker; print(worker.__file__)"
        return subprocess.run(
            [*self._python, told], env=self.environment, capture_output=True, text=True, check=True
        ).stdout.strip()


def unpack(commit: str, folder: Path) -> Release:
    """Unpack the release at `commit` into `folder`; skips the test where the history does not have it."""
    try:
        archive = subprocess.run(
            ["git", "-C", PROJECT, "archive", commit, "worker"], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error)
        pytest.skip(f"needs git and the commit {commit} in the history of this checkout (no shallow clone): {reason}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return Release(folder)

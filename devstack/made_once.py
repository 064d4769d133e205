"""A folder that is made whole or not at all: whoever is killed half-way leaves nothing that looks finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Where `folder` is missing, let `make` fill another one (it is given an empty place), and move that here."""
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    make(unfinished)
    unfinished.rename(folder)

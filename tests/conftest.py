"""One stack of servers for all tests, started when the first test asks for it.

It is new for each run and gone afterwards. With WALLEX_KEEP_STACK=1 it stays up in `.devstack-tests`, and the next
run finds it there: tests must not rely on empty servers, but on names of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.stack import Stack

KEPT_FOLDER = Path(__file__).parents[1] / ".devstack-tests"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The five servers, ready; `stack.environment()` points at them. Tests that kill servers bring their own."""
    if os.environ.get("WALLEX_KEEP_STACK") == "1":
        kept = Stack(KEPT_FOLDER)
        kept.up()
        yield kept
        return
    folder = Path(tempfile.mkdtemp(prefix="wallex-tests-"))
    own = Stack(folder)
    try:
        own.up()
        yield own
    finally:
        own.down()
        shutil.rmtree(folder)

"""The servers of a run: a Postgres that need not survive a crash of the machine, and the stand-in, in a new folder."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.stack import Stack
from worker.migration import run_migrations
from worker.settings import Settings

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "deadlock_timeout=20ms")


@contextmanager
def open_servers() -> Iterator[dict[str, str]]:
    """Start both, with an empty migrated database, and give the environment that points at them.

    They are stopped, and everything is removed, behind the block.
    """
    folder = Path(tempfile.mkdtemp(prefix="wallex-interleave-", dir=MEMORY if MEMORY.is_dir() else None))
    stack = Stack(folder, postgres_options=FAST)
    try:
        stack.up(["postgres", "kurrentdb"])
        asyncio.run(run_migrations(Settings.load(stack.environment())))
        yield stack.environment()
    finally:
        stack.down()
        shutil.rmtree(folder)

"""The event loop of a process that ends with it: uvloop's, closed in its own way."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop


@contextmanager
def open_runner() -> Iterator[asyncio.Runner]:
    """A runner on uvloop for the block.

    A connection over TLS that is still saying goodbye behind it, such as one that Postgres refused, is left to the end
    of the process: uvloop's `close` raises `EBUSY` for it, which would hide why the process ends.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        yield runner
    finally:
        try:
            runner.close()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise

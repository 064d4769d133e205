"""Telling a cancellation that somebody asked for from one that a library raises by itself.

gRPC raises `CancelledError` for a call that it gave up by itself, such as one whose deadline passed while its request
was being sent. asyncio takes that for the end of the task: it ends without a word, and what it was there for is never
done again.
"""

from __future__ import annotations

import asyncio


def is_asked_for() -> bool:
    """Whether somebody wants the current task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0

"""How a process ends: why it ends is never hidden behind a loop that could not be closed."""

from __future__ import annotations

import asyncio
import errno

import pytest
import uvloop

from worker.event_loop import open_runner


def closing_with(number: int):
    """A loop that closes, and then says that it could not."""

    class Loop(uvloop.Loop):
        def close(self) -> None:
            super().close()
            raise OSError(number, "as libuv says")

    return Loop


async def refused() -> None:
    raise ConnectionRefusedError("the password")


def test_a_connection_that_is_still_closing_does_not_hide_why_the_process_ends(monkeypatch):
    """uvloop's `close` raises EBUSY for it."""
    monkeypatch.setattr(uvloop, "new_event_loop", closing_with(errno.EBUSY))

    with pytest.raises(ConnectionRefusedError, match="the password"), open_runner() as runner:
        runner.run(refused())


def test_any_other_error_of_a_loop_that_closes_is_seen(monkeypatch):
    """It is not expected."""
    monkeypatch.setattr(uvloop, "new_event_loop", closing_with(errno.EBADF))

    with pytest.raises(OSError, match="as libuv says"), open_runner() as runner:
        runner.run(asyncio.sleep(0))

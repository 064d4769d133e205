"""Named points at which a test can kill the process, as a power cut would: SIGKILL, nothing is cleaned up.

`WALLEX_CRASH_POINT=commit` kills at the first pass of the point named `commit`; unset, as ever outside of tests, the
points do nothing. The names, in the order of a command's way: lock, persist, commit, append, reply, offset_commit.
"""

from __future__ import annotations

import os
import signal

_CHOSEN = os.environ.get("WALLEX_CRASH_POINT")


def crash_point(name: str) -> None:
    """Kill this process if `name` is the point that the environment chose."""
    if name == _CHOSEN:
        os.kill(os.getpid(), signal.SIGKILL)

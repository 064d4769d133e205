"""Named points at which a test can kill the process, as a power cut would, or freeze it, as a paused machine would.

`WALLEX_CRASH_POINT=commit` kills at the first pass of the point named `commit`: SIGKILL, nothing is cleaned up.
`WALLEX_FREEZE_POINT=commit` stops there until somebody sends SIGCONT, at the first pass only. Unset, as ever outside of
tests, the points do nothing. The names, in the order of a command's way: lock, persist, commit, append, reply,
offset_commit.
"""

from __future__ import annotations

import os
import signal

_CRASHES_AT = os.environ.get("WALLEX_CRASH_POINT")
_freezes_at = {os.environ.get("WALLEX_FREEZE_POINT")}


def crash_point(name: str) -> None:
    """Kill or freeze this process if `name` is the point that the environment chose."""
    if name == _CRASHES_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    if name in _freezes_at:
        _freezes_at.clear()
        os.kill(os.getpid(), signal.SIGSTOP)

"""`wallex …` as a person types it, run to its end in this process: starting Python for each takes most of the time."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest import mock

from worker.cli import run


class Done(NamedTuple):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[Any]:
        """Its output, one JSON object a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def wallex(environment: Mapping[str, str], *arguments: str) -> Done:
    """Run one command in `environment`. It has an event loop of its own: from a coroutine, call it in a thread."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
        # Whoever runs the tests may have set a terminal's width; a pipe has none.
        os.environ.pop("COLUMNS", None)
        code = run(arguments)
    return Done(code, out.getvalue(), err.getvalue())

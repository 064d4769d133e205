"""The baseline: what the worker is measured against, and how it is started.

`app.py` is what a competent team would write first with the same packages. It is driven and checked like the worker: by
the same commands and replies, on the same tables and streams, with `/readyz` on `HTTP_PORT`.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def baseline_command() -> list[str]:
    """The command line that starts the baseline with the worker's environment, on a migrated database."""
    faststream = Path(sys.executable).with_name("faststream")
    return [str(faststream), "run", "bench.baseline.app:app", "--app-dir", str(PROJECT)]

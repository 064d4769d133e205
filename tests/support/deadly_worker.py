"""`python -m tests.support.deadly_worker`: `wallex worker`, but reading one command kills the process.

WALLEX_DEADLY_COMMAND names its id. It stands for a record that exhausts memory: no code of the process survives it.
Kafka hears of such a death by silence alone: here it waits for as short as it can.
"""

from __future__ import annotations

import os
import signal
import sys

from worker import app
from worker.cli import main
from worker.inbox import intake

DEADLY = os.environ["WALLEX_DEADLY_COMMAND"].encode()

SESSION_TIMEOUT_MIN_MS = 6_000
"""A broker takes no shorter one (`group.min.session.timeout.ms`)."""

decode_record = intake.decode_record


def die_or_decode(record, *rules):
    """Read the record, unless it is the deadly one."""
    if record.value is not None and DEADLY in record.value:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_record(record, *rules)


if __name__ == "__main__":
    intake.decode_record = die_or_decode
    app.SESSION_TIMEOUT_MS = SESSION_TIMEOUT_MIN_MS
    sys.argv = ["wallex", "worker"]
    main()

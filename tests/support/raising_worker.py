"""`python -m tests.support.raising_worker`: `wallex worker`, but deciding one command raises, and reading another one.

WALLEX_UNDECIDABLE_COMMAND and WALLEX_UNREADABLE_COMMAND name their ids. They stand for bugs of ours, which a command
meets each time that it comes.
"""

from __future__ import annotations

import os
import sys

from worker.cli import main
from worker.inbox import intake
from worker.ledger import decide_batch

UNDECIDABLE = os.environ["WALLEX_UNDECIDABLE_COMMAND"]
UNREADABLE = os.environ["WALLEX_UNREADABLE_COMMAND"].encode()

decide = decide_batch.decide
decode_record = intake.decode_record


def raise_or_decide(command, *state):
    """Decide the command, unless it is the undecidable one."""
    if command.command_id == UNDECIDABLE:
        raise RuntimeError("nobody thought of deciding this")
    return decide(command, *state)


def raise_or_decode(record, *rules):
    """Read the record, unless it is the unreadable one."""
    if record.value is not None and UNREADABLE in record.value:
        raise RuntimeError("nobody thought of reading this")
    return decode_record(record, *rules)


if __name__ == "__main__":
    decide_batch.decide = raise_or_decide
    intake.decode_record = raise_or_decode
    sys.argv = ["wallex", "worker"]
    main()

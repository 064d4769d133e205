"""`python -m interleave --seeds 1-2000`: exit code 0 where no scene fails, 1 where one does, which is then told.

What is told of it: what was wrong, the shortest scene that still fails, and each step of that.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

from rich.console import Console

from interleave.explore import Found, explore
from interleave.gates import TIME
from interleave.scene import describe
from interleave.servers import open_servers
from worker.telemetry.logs import configure_logs

HASH_SEED = "PYTHONHASHSEED"
VIOLATIONS_SHOWN_MAX = 5
PROGRESS_S = 10.0

console = Console(highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    """Run what the command line asks for, tell what came of it, and return the exit code."""
    arguments = _parser().parse_args()
    if os.environ.get(HASH_SEED) != "0":
        # The order in which Python goes through a set is part of a run.
        os.execve(sys.executable, [sys.executable, "-m", "interleave", *sys.argv[1:]], {**os.environ, HASH_SEED: "0"})  # noqa: S606
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    configure_logs("ERROR")
    try:
        return _run(arguments.seeds, processes=arguments.processes, shortens=not arguments.as_found)
    except KeyboardInterrupt:
        return 130


def _run(seeds: Sequence[int], *, processes: int, shortens: bool) -> int:
    ran, found = 0, None
    with open_servers() as environment:
        began = told = time.monotonic()
        for count, failing in explore(environment, seeds, processes=processes, shortens=shortens):
            ran, found = ran + count, failing
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                console.print(f"{ran} of {len(seeds)} scenes, {ran / (told - began):.1f} a second")
        took_s = time.monotonic() - began
    if found is not None:
        _tell(found)
    console.print(f"{ran} scenes in {took_s:.0f} s, {ran / took_s:.1f} a second: {'one fails' if found else 'clean'}")
    return 0 if found is None else 1


def _tell(found: Found) -> None:
    spec, choices, result = found.shortest
    console.print(f"seed {found.seed} fails, {'and' if found.is_repeatable else 'but NOT'} alike when it is run again:")
    for violation in found.violations[:VIOLATIONS_SHOWN_MAX]:
        console.print(f"  {violation}")
    console.print(f"A scene that fails, with {len(choices)} choices: {spec}")
    for line in describe(spec):
        console.print(f"  {line}")
    console.print("What happens in it:")
    for step, after in pairwise([*result.trace, ""]):
        if not (step.startswith(TIME) and after.startswith(TIME)):
            console.print(f"  {step}")
    for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
        console.print(f"  {violation}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m interleave", description="Look for faults by interleavings.")
    parser.add_argument("--seeds", type=_seeds, required=True, help="one, or from the first to the last: 1-2000")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many run scenes (one a core)")
    parser.add_argument("--as-found", action="store_true", help="do not make a scene that fails shorter")
    return parser


def _seeds(text: str) -> Sequence[int]:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())

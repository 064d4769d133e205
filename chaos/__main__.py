"""`python -m chaos`: exit code 0 if no invariant was broken, 1 if one was, and then with all that is needed to look.

1 as well where the run itself broke, with a traceback instead of violations. 130: interrupted. Whatever was started is
stopped in any case; data and logs stay in the run's folder where something was wrong, and are removed otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from chaos.conduct import Happened, Limit, conduct
from chaos.faults import KINDS, says
from chaos.load import Load, open_replies
from chaos.schedule import Step, schedule
from chaos.stage import open_stage
from chaos.summary import Order, Summary, revision, save, summarize, tables
from chaos.verdict import judge
from tests.support.story import Story
from worker.telemetry.logs import configure_logs

WALLETS = 200
RATE = 400
"""Records a second: far from what the workers can, so that a fault's backlog is soon worked off."""
VIOLATIONS_SHOWN_MAX = 20
PIPE_WIDTH = 140

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPE_WIDTH)


def main() -> int:
    """Run, tell, and return the exit code."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # What the clients of this process say about servers that are away is what it is for.
    configure_logs("ERROR")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="wallex-chaos-"))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    order = Order(revision(), arguments.seed, arguments.minutes, began, arguments.steps)
    try:
        summary = asyncio.run(run(folder, order))
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; everything that was started is stopped. Logs: {folder}", soft_wrap=True)
        return 130
    except Exception:
        _tell_how_to_look(order.revision, order.command, folder)
        raise
    if arguments.summary is not None:
        save(summary, arguments.summary)
    for table in tables([summary]):
        console.print(table)
    return _conclude(summary, folder)


async def run(folder: Path, order: Order) -> Summary:
    """A whole run in `folder`, which is empty, and what came of it."""
    _say(f"seed {order.seed}, {order.minutes:g} minutes, {order.revision}; servers and processes start in {folder}")
    async with open_stage(folder) as stage:
        load = Load(stage.world, Story(order.seed, WALLETS, 0, contended=True), RATE)
        async with open_replies(stage.world) as replies:
            steps, limit = schedule(order.seed, KINDS), Limit(order.minutes * 60, order.steps)
            happened, rest_s = await conduct(stage, load, replies, steps=steps, limit=limit, tell=_tell)
        _say(f"at rest {rest_s:.1f} s after the last fault; now everything is compared")
        verdict = await judge(stage.world, load.planned)
    verdict.violations[:0] = stage.violations
    checks = stage.offset_checks
    return summarize(order, happened=happened, rest_s=rest_s, offset_checks=checks, verdict=verdict)


def _tell(what: Step | Happened) -> None:
    """One line for each fault as it happens, and one when it is recovered from."""
    if isinstance(what, Step):
        for strike in what.strikes:
            lasts = f"for {strike.lasts_s} s" if strike.lasts_s else ""
            _say(f"{strike.kind:38} {strike.target:20} {lasts:12} [dim]{says(strike)}")
        return
    for strike in what.missed:
        _say(f"[dim]  {strike.kind} befell nobody")
    seconds = (what.recovery.first_reply_s, what.recovery.all_answered_s, what.recovery.documents_s)
    if None in seconds:
        _say("[bold red]  not recovered")
    else:
        first, answered, documents = seconds
        _say(f"[dim]  replies {first:.1f} s later, all answered {answered:.1f} s, documents {documents:.1f} s later")


def _say(text: str) -> None:
    console.print(f"{datetime.now(UTC):%H:%M:%S}  {text}", soft_wrap=True)


def _conclude(summary: Summary, folder: Path) -> int:
    violations = summary["violations"]
    if not violations:
        shutil.rmtree(folder)
        console.print("[bold green]No invariant was broken.")
        return 0
    for violation in violations[:VIOLATIONS_SHOWN_MAX]:
        console.print(violation, markup=False, soft_wrap=True)
    console.print(f"[bold red]{len(violations)} violations.", soft_wrap=True)
    _tell_how_to_look(summary["revision"], summary["command"], folder)
    return 1


def _tell_how_to_look(revision: str, command: str, folder: Path) -> None:
    console.print(f"Data and logs: {folder}", soft_wrap=True)
    console.print(f"Again: git checkout {revision}; {command}", soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break it on purpose, and judge what is left.")
    parser.add_argument("--seed", type=int, required=True, help="which faults and commands, in which order")
    parser.add_argument("--minutes", type=float, required=True, help="how long faults strike")
    parser.add_argument("--steps", type=int, default=0, help="go on longer where fewer steps struck by then")
    parser.add_argument("--summary", type=Path, help="a file for what came of it, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())

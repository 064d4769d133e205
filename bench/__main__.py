"""`python -m bench`: how fast a command is and what it costs, part by part, on this machine.

Everything runs on this machine at once: the five servers, the worker, the projector, the load. Figures are medians of
some runs; machines are noisy, so compare within one go. The stand-in's figures are not KurrentDB's. A part that others
are compared with is measured with them. Where a part fails, the others are measured all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import uvloop
from rich.console import Console

from bench.chart import write_chart
from bench.machine import describe_machine, server_versions
from bench.measurement import Measurement
from bench.parts import PARTS, in_order
from bench.report import Measured, Report, as_tables, write_block
from bench.results import Row
from bench.scene import FOLDER, SETTLING_COMMANDS, Scene, open_scene

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURES, CHART = DOCS / "performance.md", DOCS / "performance.json", DOCS / "performance.png"
COMMANDS = 20_000
COMMANDS_MIN = 100
"""Some parts run a small share of them."""
RUNS = 3
SEED = 1
PIPE_WIDTH = 220

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPE_WIDTH)
progress = Console(stderr=True)


def main() -> int:
    """Measure what the command line asks for, and print it; 1 where a part failed."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.write and arguments.parts:
        parser.error("--write is for all parts together: the page shows the figures of one measurement")
    # Stopped politely, it still stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(_measure(arguments))
    for table in as_tables(report):
        console.print(table)
    if arguments.write:
        write_block(report, PAGE)
        write_chart(report.as_json(), CHART)
    failed = [part.part for part in report.parts if part.error]
    progress.print(f"Logs: {FOLDER}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


async def _measure(arguments: argparse.Namespace) -> Report:
    """Measure part by part; after each, all figures so far are in the JSON file."""
    command = f"python -m bench {shlex.join(sys.argv[1:])}".strip()
    report = Report(command, arguments.commands, arguments.runs, describe_machine())
    file = arguments.json or (FIGURES if arguments.write else None)
    left = in_order(arguments.parts)
    while left:
        settling = min(arguments.commands, SETTLING_COMMANDS)
        async with open_scene(lambda what: progress.print(f"[dim]{what} …[/dim]"), SEED, settling) as scene:
            report.servers = await server_versions(scene.settings)
            while left:
                measured = await _measure_part(left.pop(0), scene, arguments, report.rows)
                report.parts.append(measured)
                if file:
                    file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
                if measured.error:
                    # Nobody knows what it left behind: the next part begins on a new scene.
                    break
    return report


async def _measure_part(name: str, scene: Scene, arguments: argparse.Namespace, rows: dict[str, Row]) -> Measured:
    part, began = PARTS[name], time.monotonic()
    measurement = Measurement(scene, arguments.commands, arguments.runs, arguments.minutes, rows)
    try:
        await scene.restore()
        found = await part.measure(measurement)
    except Exception as error:  # noqa: BLE001 - a part that fails must not lose what the others measured
        progress.print(f"{name} failed:", traceback.format_exc(), markup=False)
        return Measured(name, part.what, [], time.monotonic() - began, f"{type(error).__name__}: {error}")
    return Measured(name, part.what, found, time.monotonic() - began)


def _parser() -> argparse.ArgumentParser:
    parts = "\n".join(f"  {name:11} {part.minutes:4g}  {part.what}" for name, part in PARTS.items())
    total = sum(part.minutes for part in PARTS.values())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"parts, and about how many minutes each takes on two cores (all: {total:g}):\n{parts}",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help="what to measure (all)")
    commands = _whole_number(COMMANDS_MIN)
    parser.add_argument("--commands", type=commands, default=COMMANDS, help=f"commands a run ({COMMANDS})")
    parser.add_argument("--runs", type=_whole_number(1), default=RUNS, help=f"runs of each row ({RUNS})")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long `memory` keeps up a steady load (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, anew after each part")
    parser.add_argument("--write", action="store_true", help="write docs/performance.json, .png and into .md")
    return parser


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"no part {name!r}; there are: {', '.join(PARTS)}")
    return name


def _whole_number(at_least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {at_least}")
        return int(text)

    return read


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.throughput`: commands a second from first publish to last reply, and what each process pays for it.

Everything runs on this machine at once: the five servers, a worker, the projector, the load. Figures are medians of
some runs in one go; machines are noisy, so compare within one go. The stand-in's figures are not KurrentDB's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path

from rich.console import Console

from bench.machine import describe_machine, server_versions
from bench.parts import PARTS
from bench.report import Report, as_json, as_table, write_block
from bench.scene import FOLDER, open_scene
from worker.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
COMMANDS = 30_000
RUNS = 3

PIPE_WIDTH = 130

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPE_WIDTH)
progress = Console(stderr=True)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    arguments = _parser().parse_args()
    # Stopped politely, it still stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = asyncio.run(_measure(arguments.parts or list(PARTS), arguments.commands, arguments.runs))
    if arguments.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        console.print(as_table(report))
        if report.ratio is not None:
            console.print(f"Delayed appends against undelayed ones: {report.ratio:.2f} of the rate.")
        console.print(f"Logs: {FOLDER}")
    if arguments.write:
        write_block(report, PAGE)


async def _measure(parts: list[str], commands: int, runs: int) -> Report:
    machine = describe_machine()
    measured = []
    async with open_scene(lambda what: progress.print(f"[dim]{what} …[/dim]")) as scene:
        for part in parts:
            measured += await PARTS[part](scene, commands, runs)
        servers = await server_versions(Settings.load(scene.environment))
    return Report(f"python -m bench.throughput {shlex.join(sys.argv[1:])}".strip(), machine, servers, measured)


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"no part {name!r}; there are: {', '.join(PARTS)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help=f"some of {', '.join(PARTS)} (all)")
    parser.add_argument("--commands", type=int, default=COMMANDS, help=f"commands a run ({COMMANDS})")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each part ({RUNS})")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"put the figures into docs/{PAGE.name}")
    return parser


if __name__ == "__main__":
    main()

"""`python -m mutants [NAME…]`: take out each safeguard of the table in turn, and say which test noticed.

First the tests run on the code as it is: they must pass. Exit code 0 where every mutant was killed, 1 where one
survived, 2 where the run could not be made. The servers are the tests' own, in a temporary folder, and stopped.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from devstack.errors import DevstackError
from mutants.errors import MutantsError
from mutants.mutant import Mutant, faults_of
from mutants.suite import first_failure, stop_servers
from mutants.table import MUTANTS
from mutants.tree import PROJECT, copy_tree, mutated

PIPE_WIDTH = 200

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPE_WIDTH)
progress = Console(stderr=True, highlight=False)


class Tried(NamedTuple):
    """A mutant, the test that noticed it (None: it survived), and how long that took."""

    mutant: Mutant
    killed_by: str | None
    took_s: float


def main() -> int:
    """Try what the command line asks for, print what became of each mutant, and return the exit code."""
    arguments = _parser().parse_args()
    chosen = [mutant for mutant in MUTANTS if not arguments.names or mutant.name in arguments.names]
    # Stopped politely, it still stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = time.monotonic()
    try:
        tried = _try_all(chosen)
    except (MutantsError, DevstackError) as error:
        progress.print(f"[bold red]No result.[/] {escape(str(error))}", soft_wrap=True)
        return 2
    console.print(_as_table(tried))
    survived = [one.mutant.name for one in tried if one.killed_by is None]
    console.print(f"{len(tried) - len(survived)} of {len(tried)} killed, {time.monotonic() - began:.0f} s in all")
    return 1 if survived else 0


def _try_all(mutants: Sequence[Mutant]) -> list[Tried]:
    faults = [fault for mutant in mutants for fault in faults_of(mutant, PROJECT)]
    if faults:
        raise MutantsError("\n".join(faults))
    # Its real path: what a process says of its own files is compared with it.
    root = Path(tempfile.mkdtemp(prefix="wallex-mutants-")).resolve()
    try:
        copy_tree(root)
        try:
            return list(_try_each(root, mutants))
        finally:
            stop_servers(root)
    finally:
        shutil.rmtree(root)


def _try_each(root: Path, mutants: Sequence[Mutant]) -> Iterator[Tried]:
    progress.print("[dim]the tests on the code as it is …[/]")
    failed = first_failure(root, (test for mutant in mutants for test in mutant.tests))
    if failed is not None:
        raise MutantsError(f"{failed} fails on the code as it is: mend that first")
    for number, mutant in enumerate(mutants, 1):
        began = time.monotonic()
        with mutated(root, mutant):
            killed_by = first_failure(root, mutant.tests)
        tried = Tried(mutant, killed_by, time.monotonic() - began)
        progress.print(f"{number}/{len(mutants)} {mutant.name}: {escape(killed_by or 'survived')}", soft_wrap=True)
        yield tried


def _as_table(tried: Iterable[Tried]) -> Table:
    table = Table("mutant", "takes out", Column("killed by", overflow="fold"), Column("seconds", justify="right"))
    for mutant, killed_by, took_s in tried:
        test = "[bold red]SURVIVED" if killed_by is None else killed_by.rpartition("::")[2].partition("[")[0]
        table.add_row(mutant.name, mutant.takes_out, test, f"{took_s:.1f}")
    return table


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {mutant.name:24} {mutant.takes_out}" for mutant in MUTANTS)
    parser = argparse.ArgumentParser(
        prog="python -m mutants",
        description="Take out one safeguard after another, and see whether the tests notice.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"mutants:\n{names}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help="which to try (all)")
    return parser


def _name(text: str) -> str:
    names = [mutant.name for mutant in MUTANTS]
    if text not in names:
        raise argparse.ArgumentTypeError(f"no mutant {text!r}; there are: {', '.join(names)}")
    return text


if __name__ == "__main__":
    sys.exit(main())

"""The README's examples as they stand: each Python block, and each shell block that sends a command, in its order."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.workers import WALLEX_WORKER

README = Path(__file__).parents[2] / "README.md"
PROGRAMS = Path(sys.executable).parent
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE_S = 60.0


class Example(NamedTuple):
    """A block of the README."""

    language: str
    text: str

    @property
    def command(self) -> list[str]:
        """What runs it in a fresh process: a shell stops at the first command that fails."""
        return [sys.executable, "-c", self.text] if self.language == "python" else ["sh", "-euc", self.text]


def examples(markdown: str) -> Iterator[Example]:
    """The blocks that can be run beside a worker; not those that install and start things."""
    for language, text in FENCED.findall(markdown):
        if language == "python" or (language == "sh" and "wallex send" in text):
            yield Example(language, text)


def run(example: Example, environment: Mapping[str, str], folder: Path) -> str:
    """Run one example as a reader would; return what it wrote."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        example.command,
        env={**environment, "PATH": path},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=EXAMPLE_S,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode} of\n{example.text}\n{done.stdout}"
    return done.stdout


async def test_the_examples_of_the_readme_run(make_world, start_kurrentdb, tmp_path):
    """Nothing but a worker and a scheduler need run, and the environment say where things are."""
    # Its own KurrentDB, since the ids stand in the README: they must be new to every store.
    kurrentdb = await start_kurrentdb()
    world = await make_world(KURRENTDB_URI=kurrentdb.uri)
    for process in (world.start("worker"), world.start("scheduler", command=(WALLEX_WORKER[0], "scheduler"))):
        await process.until_ready()

    written = [
        await asyncio.to_thread(run, example, world.environment, tmp_path) for example in examples(README.read_text())
    ]

    assert len(written) > 1
    assert any("paid, left: 75.0000\n" in text for text in written)
    assert any("not paid: only 75.0000 of 1000.0000\n" in text for text in written)

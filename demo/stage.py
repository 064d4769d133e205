"""What the story plays on: servers and Wallex's own processes, all of the demo's own; stopped whatever happens.

The demo's folder is emptied first, so every performance begins from nothing. Data and logs stay there afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.errors import DemoError, StalledError
from demo.show import OUTPUT_WIDTH
from devstack.process import last_lines
from devstack.stack import Stack
from devstack.wallex import WallexProcess, run_wallex

OWN_FOLDER = Path(__file__).parents[1] / ".devstack-demo"


@dataclass(frozen=True)
class Stage:
    """The running processes; `environment` points every part of Wallex at them."""

    stack: Stack
    environment: Mapping[str, str]
    processes: tuple[WallexProcess, ...]

    def check(self) -> None:
        """Raise where a process or a server has ended, with the last lines of its log."""
        for process in self.processes:
            process.check()
        for name in ("postgres", "kafka", "kurrentdb", "elasticsearch"):
            if self.stack.pid(name) is None:
                raise DemoError(f"{name} has ended by itself:\n{last_lines(self.stack.log(name))}")


def empty_folder(folder: Path) -> Path:
    """The folder for the stack's data: the demo's own is emptied, any other must be empty already."""
    if folder == OWN_FOLDER:
        # An earlier performance may have been killed, and its servers live on.
        Stack(folder).down()
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise DemoError(f"{folder} is not empty; expected an empty or a new folder, or none: then it is {OWN_FOLDER}")
    return folder


@contextmanager
def servers(folder: Path) -> Iterator[Stack]:
    """Start the five servers; stop them behind the block."""
    stack = Stack(folder)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def migrate(environment: Mapping[str, str]) -> str:
    """Run the migrations, and return what the command said."""
    return wallex(["migrate", "run"], environment)


@contextmanager
def stage(stack: Stack) -> Iterator[Stage]:
    """Start worker, projector and scheduler, and wait until they are ready; stop them behind the block."""
    environment = stack.environment()
    with (
        WallexProcess("worker", environment, stack.folder / "worker.log") as worker,
        WallexProcess("projector", environment, stack.folder / "projector.log") as projector,
    ):
        # The worker makes the topics; the scheduler writes to one of them.
        worker.wait_ready()
        projector.wait_ready()
        with WallexProcess("scheduler", environment, stack.folder / "scheduler.log") as scheduler:
            scheduler.wait_ready()
            yield from _watched(Stage(stack, environment, (worker, projector, scheduler)))


def _watched(here: Stage) -> Iterator[Stage]:
    """Lend the stage; where something goes wrong on it, say which process is why."""
    try:
        yield here
    except StalledError as error:
        here.check()
        log = last_lines(here.stack.folder / f"{error.process}.log")
        raise DemoError(f"{error}. The end of the {error.process}'s log:\n{log}") from error
    except Exception:
        # Whatever went wrong out there: if a process ended, that is why.
        here.check()
        raise


def wallex(arguments: list[str], environment: Mapping[str, str]) -> str:
    """Run a command of Wallex and return its output; DemoError where its exit code is not 0."""
    code, output = run_wallex(arguments, {**environment, "LOG_LEVEL": "WARNING"}, columns=OUTPUT_WIDTH)
    if code:
        raise DemoError(f"`wallex {' '.join(arguments)}` ended with exit code {code}:\n{output}")
    return output

"""Wallex's own processes on a scene, by what they are: workers and a projector; how much memory they took at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cpu import Pids, peak_memory_mb
from devstack.wallex import WallexProcess

WORKER, PROJECTOR, SCHEDULER = "worker", "projector", "scheduler"


class Processes:
    """Starts and stops them; whatever runs at the end of the `with` block is stopped."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """`environment` points them to the stack, their logs go to `folder`."""
        self.environment = environment
        self.running: dict[str, list[WallexProcess]] = {}
        self._folder = folder
        self._usual: set[int] = set()
        self._peaks_mb: dict[str, float] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_error: object) -> None:
        for kind in list(self.running):
            self.discard(kind)

    def start(self, kind: str, *command_lines: Sequence[str] | None, **environment: str) -> None:
        """Start a process of this kind for each of `command_lines` and wait until all are ready.

        None of them, or no command line at all, stands for `wallex KIND`. `environment` comes on top of the usual one.
        """
        log = self._folder / f"{kind}.log"
        started = self.running.setdefault(kind, [])
        for command_line in command_lines or (None,):
            started.append(WallexProcess(kind, {**self.environment, **environment}, log, command_line))
            if command_line is None:
                self._usual.add(started[-1].pid)
        for process in started:
            process.wait_ready()

    def stop(self, kind: str) -> None:
        """Stop all of this kind, and remember what memory they took."""
        self._note_peak(kind)
        self.discard(kind)

    def discard(self, kind: str) -> None:
        """Stop all of this kind, in whatever state they are; without any it does nothing."""
        for process in self.running.pop(kind, []):
            process.stop()

    def check(self) -> None:
        """Raise DevstackError where one has ended by itself."""
        for processes in self.running.values():
            for process in processes:
                process.check()

    def pids(self) -> Pids:
        """The process ids of each kind."""
        kinds = [kind for kind in (WORKER, PROJECTOR, SCHEDULER) if kind in self.running]
        return {kind: tuple(process.pid for process in self.running[kind]) for kind in kinds}

    def peaks_mb(self) -> dict[str, float]:
        """The most memory, in MB, that one `wallex` process of each kind has taken, whether it still runs or not."""
        for kind in self.running:
            self._note_peak(kind)
        return dict(self._peaks_mb)

    def _note_peak(self, kind: str) -> None:
        pids = [process.pid for process in self.running.get(kind, ()) if process.pid in self._usual]
        peaks = [peak_memory_mb(pid) for pid in pids]
        self._peaks_mb[kind] = max([self._peaks_mb.get(kind, 0.0), *peaks])

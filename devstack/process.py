"""Processes that outlive the command which started them: start, recognise, stop.

A process is known by its pid *and* the moment it started, as the kernel counts it: a pid that went to another process
is never taken for ours, and signals go through a pidfd, so they cannot hit a stranger even in a race. Linux only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from worker.settings import Settings

# The shell ends at once, so that the server is an orphan (nobody's zombie), in a session of its own.
SPAWN = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'
STATE, START_TICKS = 0, 19  # places in /proc/PID/stat behind the command's name


@dataclass(frozen=True)
class Process:
    """One process, for as long as the machine is up."""

    pid: int
    start_ticks: int  # clock ticks from boot to its start


def spawn(command: list[str], folder: Path, log: Path) -> Process | None:
    """Start `command` in `folder`, its output appended to `log`; return it, or None where it ended at once.

    It sees the environment without Wallex's own variables: KurrentDB takes each `KURRENTDB_…` for an option of its own,
    and does not start with one that it does not know.
    """
    others = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    started = subprocess.run(
        ["sh", "-c", SPAWN, "sh", str(log), *command],
        cwd=folder,
        env=others,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return find(int(started.stdout))


def find(pid: int) -> Process | None:
    """Return the process that has this pid now; None where there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[STATE] in "ZX" else Process(pid, int(fields[START_TICKS]))


def is_alive(process: Process) -> bool:
    """Tell whether this very process still runs."""
    return find(process.pid) == process


def end(process: Process, how: signal.Signals, wait_s: float) -> bool:
    """Send a signal, wait for the end, and return whether it came within `wait_s`; harmless where it ended before."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(process):
            return True
        signal.pidfd_send_signal(pidfd, how)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))
    finally:
        os.close(pidfd)


def running_in(folder: Path, name: str) -> list[Process]:
    """Return the processes with this program name whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == name and (entry / "cwd").readlink() == folder:
                found.append(find(int(entry.name)))
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    return [process for process in found if process is not None]


def last_lines(log: Path, count: int = 15) -> str:
    """Return the end of a log file, for a message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-count:])

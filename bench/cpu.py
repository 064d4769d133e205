"""CPU time and memory of processes, from /proc: what each had used before a run and after it is its share of the work.

Postgres starts and ends processes as it likes. What an ended one used is kept by the kernel in its parent's account of
ended children, so a tree's sum never loses anything. The kernel counts in ticks of 10 ms: fine for runs of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

Pids = Mapping[str, tuple[int, ...]]
"""The processes that are measured together under one name; each with all its descendants."""


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """User and system time that each group of processes has used since its start, in seconds."""
    return {name: sum(map(_tree_seconds, group)) for name, group in pids.items()}


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each group used between two readings, in seconds."""
    return {name: after[name] - before[name] for name in before}


def peak_memory_mb(pid: int) -> float:
    """The most memory that a process has had resident since its start, in MB (10^6 bytes)."""
    return _status_mb(pid, "VmHWM")


def memory_mb(pid: int) -> float:
    """The memory that a process has resident now, in MB (10^6 bytes)."""
    return _status_mb(pid, "VmRSS")


def _status_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib * 1024 / 1e6


def _tree_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    # Children first: one that ends in between is then in its parent's account, which is read after it.
    return sum(map(_process_seconds, [*reversed(root.children(recursive=True)), root]))


def _process_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system

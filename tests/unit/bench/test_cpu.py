"""CPU and memory accounting: nothing that a process or its children used is lost."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.cpu import cpu_seconds, memory_mb, peak_memory_mb, used

BURN = "import time\nwhile time.process_time() < 0.3: pass"
# A parent that waits for a child which burns, and then for a line on stdin.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print('done', flush=True); input()"


def test_what_an_ended_child_used_is_counted_for_its_parent():
    """Postgres ends processes while it works: their time belongs to it."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        before = {"server": 0.0}
        parent.stdout.readline()

        took = used(before, cpu_seconds({"server": (parent.pid,)}))

        parent.communicate("\n")
    assert 0.25 < took["server"] < 3


def test_memory_that_was_given_back_still_counts_for_the_peak():
    """A short-lived large batch is what kills a process, though nobody sees it afterwards."""
    take = "taken = bytearray(b'x') * 100_000_000; del taken; print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", take], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        one.stdout.readline()

        now, peak = memory_mb(one.pid), peak_memory_mb(one.pid)

        one.communicate("\n")
    assert now < 100 < peak < 200


def test_a_group_of_processes_is_summed():
    """Two workers are one line of the table."""
    own = os.getpid()

    one, both = cpu_seconds({"one": (own,)})["one"], cpu_seconds({"both": (own, own)})["both"]

    assert both >= 2 * one > 0

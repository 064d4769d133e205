"""Wallex's own processes beside a stack's servers: `wallex worker`, `wallex projector`; and its commands that end.

For what drives Wallex from outside: demo, bench, tests. Unlike the servers, these processes are children: whoever
starts one stops it. They see the environment that they are given and nothing of the terminal's, so that a `DB_HOST`
or `COMMAND_TOPICS` that is set there leads no process astray.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from devstack.errors import DevstackError
from devstack.ports import free_port
from devstack.process import last_lines
from devstack.server import HOST

READY_S = 60.0
"""How long a process may take from its start until `/readyz` says that it can do its job."""
READY_POLL_S = 0.1
ANSWER_S = 5.0
STOP_S = 45.0
"""How long it may take to finish what is in flight before it is killed; the worker itself allows 30 s for that."""

_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
_PROGRAM = Path(sys.executable).with_name("wallex")


class WallexProcess:
    """A long-running `wallex COMMAND`, started when this is made; leave the `with` block to stop it."""

    def __init__(
        self,
        command: str,
        environment: Mapping[str, str],
        log: Path,
        command_line: Sequence[str] | None = None,
    ) -> None:
        """Start `wallex COMMAND` with `environment`, its log appended to `log`, on a free HTTP port.

        `command_line` is another program to start in its stead, which answers on that port as it does.
        """
        self.command, self.log = command, log
        self._port = free_port()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command_line or [str(_PROGRAM), command],
                env=_hermetic({**environment, "HTTP_PORT": str(self._port)}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal is for the starter: it decides what is stopped, and when.
                start_new_session=True,
            )

    def __enter__(self) -> WallexProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise DevstackError, with the end of the log, where the process has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise DevstackError(f"wallex {self.command} ended with exit code {code}:\n{last_lines(self.log)}")

    def wait_ready(self) -> None:
        """Wait until `/readyz` answers with 200; DevstackError where that takes too long or the process ends."""
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"wallex {self.command} is not ready after {READY_S:.0f} s:\n{last_lines(self.log)}"
                )
            time.sleep(READY_POLL_S)

    def metric(self, name: str) -> float:
        """Read a metric that has no labels from `/metrics`; KeyError where there is none of that name."""
        _, page = self._get("/metrics")
        found = next((line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")), None)
        if found is None:
            raise KeyError(f"wallex {self.command} has no metric {name}")
        return float(found)

    def stop(self) -> None:
        """Let it finish what is in flight, and kill it where that takes longer than `STOP_S`."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            status, _ = self._get("/readyz")
        except (OSError, HTTPException):
            return False
        return status == 200

    def _get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(HOST, self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def run_wallex(arguments: list[str], environment: Mapping[str, str], *, columns: int = 120) -> tuple[int, str]:
    """Run `wallex ARGUMENTS` to its end; return the exit code and what it wrote, in lines of `columns` at most."""
    done = subprocess.run(
        [_PROGRAM, *arguments],
        env=_hermetic({**environment, "COLUMNS": str(columns)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def _hermetic(environment: Mapping[str, str]) -> dict[str, str]:
    return {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **environment}

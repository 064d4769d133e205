"""A worker as a process: started, watched through its log and its pages, ended in every way that a process ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

WALLEX_WORKER = (str(Path(sys.executable).with_name("wallex")), "worker")
PATIENCE_S = 40.0
POLL_S = 0.02


class Worker:
    """A running worker whose log goes to `log`."""

    def __init__(self, environment: Mapping[str, str], log: Path, command: Sequence[str] = WALLEX_WORKER) -> None:
        self.log = log
        with log.open("wb") as output:
            # Not the environment of whoever runs the tests: what a worker is told stands in the test.
            inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
            self._process = subprocess.Popen(command, env={**inherited, **environment}, stdout=output, stderr=output)

    @property
    def command_line(self) -> str:
        """What everybody on the machine can read of it."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text().replace("\0", " ")

    @property
    def code(self) -> int | None:
        """The exit code (minus the signal where one ended it), None while it runs."""
        return self._process.poll()

    @property
    def is_frozen(self) -> bool:
        """Whether SIGSTOP holds it, whoever sent that."""
        pid = self._process.pid
        return self.code is None and os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Its log lines so far; of one `event` where that is given."""
        found = []
        for text in self.log.read_text(errors="replace").splitlines():
            if text.startswith("{") and text.endswith("}"):
                line = json.loads(text)
                if event is None or line.get("event") == event:
                    found.append(line)
        return found

    async def logged(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`th line of `event`, and return it."""
        await self._while_running(lambda: len(self.lines(event)) >= count, f"{count} lines {event!r}")
        return self.lines(event)[count - 1]

    async def assigned(self) -> list[str]:
        """Wait until it has partitions, and return their names."""
        return list((await self.logged("partitions_assigned"))["partitions"])

    def said_of_servers(self) -> list[tuple[str, str]]:
        """What it said of servers that it lost and has again, in order: events and servers."""
        return [(line["event"], line["server"]) for line in self.lines() if line["event"].startswith("server_")]

    async def page(self, name: str) -> tuple[int, str]:
        """One of its pages: status and text."""
        port = (await self.logged("health_listening"))["port"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{name}") as answer:
            return answer.status, await answer.text()

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """What /readyz says: status and content."""
        status, text = await self.page("readyz")
        return status, json.loads(text)

    async def until_ready(self) -> None:
        """Wait until /readyz says yes."""
        await self._until_ready_says(200)

    async def until_not_ready(self) -> None:
        """Wait until /readyz says no."""
        await self._until_ready_says(503)

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples of exactly this name, over all labels."""
        _, text = await self.page("metrics")
        samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)

    async def until_metric(self, name: str, value: float) -> None:
        """Wait until a metric has this value."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.metric(name) != value:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it fall silent, as a frozen machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Wake it up again."""
        self._process.send_signal(signal.SIGCONT)

    async def stop(self, patience_s: float = 15.0) -> int:
        """Ask it to stop (SIGTERM), and return its exit code."""
        self._process.terminate()
        return await self.ended(patience_s)

    async def ended(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end, and return its exit code."""
        await eventually(lambda: self.code is not None, "the worker's end", patience_s)
        assert self.code is not None
        return self.code

    async def _until_ready_says(self, status: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self.ready())[0] != status:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)

    async def _while_running(self, condition: Callable[[], object], what: str) -> None:
        await eventually(lambda: condition() or self.code is not None, what)
        assert condition(), f"the worker ended with {self.code} before {what}:\n{self.log.read_text()[-4000:]}"


async def eventually(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition()`; fail after `patience_s`."""
    try:
        async with asyncio.timeout(patience_s):
            # What other processes do sends no event to wait for.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"waited {patience_s} s in vain for {what}") from None

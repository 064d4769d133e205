"""Run the KurrentDB stand-in as a process of its own, the way `devstack` does."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

START_S = 20.0
LISTENING = re.compile(r"stand-in .* on ([\d.]+:\d+),")
CONTROL = re.compile(r"fault switches on ([\d.]+:\d+)")


class StandIn:
    """A running stand-in: `target` is its host:port, `output` the lines that it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output: list[str] = []
        self.target = ""
        self._control = ""
        self._started = asyncio.Event()
        self._wrote = asyncio.Event()
        self._reader = asyncio.create_task(self._read_output())

    @property
    def uri(self) -> str:
        """What a client connects to."""
        return f"esdb://{self.target}?Tls=false"

    async def _read_output(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode().rstrip()
            self.output.append(text)
            self._wrote.set()
            if found := CONTROL.search(text):
                self._control = found[1]
            if found := LISTENING.search(text):
                self.target = found[1]
                self._started.set()
        self._started.set()

    async def wait_started(self) -> None:
        """Wait until it listens; fail with its output where it ended instead."""
        await asyncio.wait_for(self._started.wait(), START_S)
        assert self.target, "\n".join(self.output)

    async def wait_for_output(self, text: str) -> None:
        """Wait until it has written a line with `text`."""
        async with asyncio.timeout(START_S):
            while not any(text in line for line in self.output):
                self._wrote.clear()
                await self._wrote.wait()

    async def set_faults(self, **switches: Any) -> dict[str, Any]:
        """Set fault switches while it runs; return all of them."""
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"http://{self._control}/faults", data=json.dumps(switches)) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
        code = await asyncio.wait_for(self.process.wait(), START_S)
        await self._reader
        return code


async def start_standin(data: Path, *options: str, port: int = 0) -> StandIn:
    """Start one on `data` with these command line options, and wait until it listens."""
    arguments = ["-m", "devstack.kurrentdb", "--port", str(port), "--control-port", "0", "--data", str(data), *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    standin = StandIn(process)
    await standin.wait_started()
    return standin

"""One stack: the five servers with their data in one folder, on ports of their own.

`up` and `down` may be repeated and may come from several processes at once: they take turns. `up` returns when each
server has done real work, whatever state it was found in: stopped, killed, starting, running. Servers outlive the
process that started them. A stack in another folder shares nothing but the fetched jars.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from devstack import lifecycle
from devstack.errors import DevstackError
from devstack.ports import choose_ports
from devstack.process import Process, is_alive
from devstack.server import Server, Site
from devstack.servers import SERVERS
from devstack.servers.kafka import ADVERTISED_PORT
from devstack.state import ServerState, load_states, save_states, turn

Result = TypeVar("Result")


State = Literal["ready", "not ready", "dead", "stopped"]
"""dead: it ended without being stopped."""


@dataclass(frozen=True)
class Status:
    """One server of a stack, as it is now."""

    server: str
    state: State
    port: int | None  # None: never started
    pid: int | None
    log: str


class Stack:
    """The servers of one folder (DEVSTACK_DIR where none is given).

    `kafka_advertised_port`: where Kafka sends its clients, for a proxy in between. `kurrentdb_options`: command line
    options of the stand-in, such as `--no-append-records`. `postgres_options`: settings, `name=value`. `java_options`:
    those of the Java that runs Kafka and Elasticsearch. All hold for the servers that this object starts.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        kafka_advertised_port: int | None = None,
        kurrentdb_options: Sequence[str] = (),
        postgres_options: Sequence[str] = (),
        java_options: Sequence[str] = (),
    ) -> None:
        self.folder = Path(folder or os.environ.get("DEVSTACK_DIR") or ".devstack").resolve()
        advertised = () if kafka_advertised_port is None else (f"{ADVERTISED_PORT}{kafka_advertised_port}",)
        self._options = {
            "kurrentdb": tuple(kurrentdb_options),
            "postgres": tuple(postgres_options),
            "kafka": (*advertised, *java_options),
            "elasticsearch": tuple(java_options),
        }
        self._state_file = self.folder / "state.json"
        self._saving = threading.Lock()

    def up(self, names: Iterable[str] | None = None) -> dict[str, bool]:
        """Start the named servers (None: all) and wait until they are ready; tell for each whether it was started now.

        DevstackError: one cannot be fetched or started, or runs with other options than this object's.
        """
        servers = _named(names)
        with turn(self.folder / "lock"):
            for server in servers:
                self._make_way(server)
            return _each(servers, self._start)

    def down(self, names: Iterable[str] | None = None) -> None:
        """Stop the named servers (None: all) cleanly and wait for their end; data and ports are kept."""
        with turn(self.folder / "lock"):
            _each(_named(names), self._stop)

    def kill(self, name: str) -> None:
        """End a server with SIGKILL, as a crash would, and wait until it is gone."""
        process = self._process(name)
        if process is None:
            raise DevstackError(f"{name} does not run, so it cannot be killed")
        lifecycle.kill(SERVERS[name], process)

    def pid(self, name: str) -> int | None:
        """Return the pid of a server, None where it does not run."""
        process = self._process(name)
        return process.pid if process else None

    def port(self, name: str) -> int:
        """Return the port that a server listens on, whatever Kafka advertises."""
        return self._site(name).port

    def log(self, name: str) -> Path:
        """Return the file that a server's output goes to."""
        return self.folder / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """Return the variables that point Wallex at this stack, for those of its servers that were ever started."""
        variables: dict[str, str] = {}
        for name in self._states():
            variables |= SERVERS[name].environment(self._site(name))
        return variables

    def status(self) -> list[Status]:
        """Look at every server, and let those that run do some work."""
        return list(_each(list(SERVERS.values()), self._status).values())

    def _states(self) -> dict[str, ServerState]:
        return load_states(self._state_file)

    def _remember(self, name: str, state: ServerState) -> None:
        with self._saving:
            save_states(self._state_file, {**self._states(), name: state})

    def _site(self, name: str) -> Site:
        state = self._states().get(name)
        if state is None:
            raise DevstackError(f"{name} was never started in {self.folder}: `python -m devstack up {name}` does it")
        return Site(self.folder / name, state.ports, state.options)

    def _process(self, name: str) -> Process | None:
        state = self._states().get(name)
        return state.process if state and state.process and is_alive(state.process) else None

    def _make_way(self, server: Server) -> None:
        """Prepare the start of a server that does not run: nothing of it is left, its ports are free."""
        states, options = self._states(), self._options.get(server.name, ())
        had = states.get(server.name)
        if had is not None and self._process(server.name):
            if had.options != options:
                raise DevstackError(
                    f"{server.name} runs with the options {list(had.options)}, not {list(options)}:"
                    f" stop it first, `python -m devstack down {server.name}`"
                )
            return
        if had is not None:
            server.sweep(self._site(server.name))
        taken = {port for name, state in states.items() if name != server.name for port in state.ports.values()}
        ports = choose_ports(server.port_names, had.ports if had else {}, taken)
        self._remember(server.name, ServerState(ports, had.process if had else None, options))

    def _start(self, server: Server) -> bool:
        site, log = self._site(server.name), self.log(server.name)
        running = self._process(server.name)
        process = running or lifecycle.start(server, site, log)
        if running is None:  # at once: a process that nobody remembers could never be stopped
            self._remember(server.name, replace(self._states()[server.name], process=process))
        lifecycle.wait_ready(server, site, process, log)
        return running is None

    def _stop(self, server: Server) -> None:
        state = self._states().get(server.name)
        if state is not None and state.process is not None:
            lifecycle.stop(server, self._site(server.name), state.process)
            self._remember(server.name, replace(state, process=None))

    def _status(self, server: Server) -> Status:
        state, pid = self._states().get(server.name), self.pid(server.name)
        port = state.ports["main"] if state else None
        return Status(server.name, self._state(server, state, pid), port, pid, str(self.log(server.name)))

    def _state(self, server: Server, state: ServerState | None, pid: int | None) -> State:
        if state is None or state.process is None:
            return "stopped"
        if pid is None:
            return "dead"
        return "not ready" if lifecycle.not_ready_because(server, self._site(server.name)) else "ready"


def _named(names: Iterable[str] | None) -> list[Server]:
    if names is None:
        return list(SERVERS.values())
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in SERVERS]
    if unknown:
        raise DevstackError(f"no server {', '.join(unknown)}; there are: {', '.join(SERVERS)}")
    return [SERVERS[name] for name in wanted]


def _each(servers: list[Server], do: Callable[[Server], Result]) -> dict[str, Result]:
    """Do it to all servers at once; where some fail, finish the others, then raise one error that names them all."""
    pool = ThreadPoolExecutor(len(SERVERS))
    futures = {server.name: pool.submit(do, server) for server in servers}
    try:
        wait(futures.values())
    finally:
        # Also when Ctrl-C came in between: nothing may go on starting behind the back of whoever stops it all.
        pool.shutdown(wait=True)
    problems = [error for future in futures.values() if (error := future.exception()) is not None]
    unexpected = [error for error in problems if not isinstance(error, DevstackError)]
    if unexpected:
        raise unexpected[0]
    if problems:
        raise DevstackError("\n".join(dict.fromkeys(str(problem) for problem in problems)))
    return {name: future.result() for name, future in futures.items()}

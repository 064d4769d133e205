"""What the tests of the whole worker share: a world of their own each, and stand-ins whose faults they switch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.kurrentdb.standin import StandIn, start_standin
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

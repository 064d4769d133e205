"""Redis off, forgetful or lying: it saves work, and nothing is wrong without it or because of it.

Two schedulers and two workers each time, so that two of everything may be at work; holds expire once, and commands are
answered as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from devstack.stack import Stack
from tests.support.expiry import assert_expired_once, lease, leases, place_holds, soon, start_scheduler, until_expired
from tests.support.invariants import check
from tests.support.lying_redis import lying_redis
from tests.support.replies import Topic
from tests.support.workers import Worker, eventually
from tests.support.world import World

HOLDS = 50
FLUSH_EVERY_S = 0.05


@pytest.fixture(scope="module")
def redis_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Redis for these tests alone."""
    own = Stack(tmp_path_factory.mktemp("redis"))
    own.up(["redis"])
    try:
        yield own
    finally:
        own.down(["redis"])


@asynccontextmanager
async def flushed(url: str) -> AsyncIterator[None]:
    """Let Redis forget everything, again and again, inside the block."""

    async def flush() -> None:
        async with Redis.from_url(url) as redis:
            while True:
                await redis.flushall()
                await asyncio.sleep(FLUSH_EVERY_S)

    flushing = asyncio.create_task(flush())
    try:
        yield
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing


async def two_of_each(world: World) -> tuple[Topic, list[Worker]]:
    """Start two workers and two schedulers, and wait for the workers; the replies, and the schedulers."""
    replies = await world.topic(world.reply_topic)
    workers = [world.start(name) for name in "ab"]
    schedulers = [start_scheduler(world, name) for name in ("first", "second")]
    for worker in workers:
        await worker.assigned()
    return replies, schedulers


async def until_leased(schedulers: list[Worker], times: int = 1) -> None:
    """Wait until one of them has taken the lease so many times."""
    await eventually(lambda: any(len(leases(one, "lease_taken")) >= times for one in schedulers), "a lease")


async def until_some_expired(world: World, replies: Topic) -> list[str]:
    """Place holds that are due soon, and wait until they have expired."""
    holds = await place_holds(world, HOLDS, soon())
    await until_expired(replies, holds)
    return holds


async def test_holds_expire_once_while_redis_is_off_and_when_it_is_back(make_world, redis_stack):
    """Each scheduler says once that it goes on without the lease; with Redis back, one of them has it."""
    world = await make_world(**redis_stack.environment())
    replies, schedulers = await two_of_each(world)
    await until_leased(schedulers)
    await asyncio.to_thread(redis_stack.kill, "redis")
    for scheduler in schedulers:
        await lease(scheduler, "lease_unavailable")

    without = await until_some_expired(world, replies)
    await asyncio.to_thread(redis_stack.up, ["redis"])
    await until_leased(schedulers, 2)
    again = await until_some_expired(world, replies)

    assert [len(leases(one, "lease_unavailable")) for one in schedulers] == [1, 1]
    await assert_expired_once(world, [*without, *again], replies)
    await check(world, replies)


async def test_holds_expire_once_while_redis_is_off_from_the_start(make_world, redis_stack):
    """Nobody waits for it: each scheduler says once that it goes on without the lease; with Redis there, one has it."""
    world = await make_world(**redis_stack.environment())
    await asyncio.to_thread(redis_stack.kill, "redis")
    replies, schedulers = await two_of_each(world)
    for scheduler in schedulers:
        await lease(scheduler, "lease_unavailable")

    without = await until_some_expired(world, replies)
    assert [leases(one, "lease_taken") for one in schedulers] == [[], []]
    await asyncio.to_thread(redis_stack.up, ["redis"])
    await until_leased(schedulers)
    again = await until_some_expired(world, replies)

    assert [len(leases(one, "lease_unavailable")) for one in schedulers] == [1, 1]
    assert sorted(len(leases(one, "lease_taken")) for one in schedulers) == [0, 1]
    await assert_expired_once(world, [*without, *again], replies)
    await check(world, replies)


async def test_holds_expire_once_while_redis_is_flushed_all_the_time(make_world, redis_stack):
    """A lease that is forgotten twenty times a second goes from one to the other and to both: no more than that."""
    world = await make_world(**redis_stack.environment())

    async with flushed(world.environment["REDIS_URL"]):
        replies, schedulers = await two_of_each(world)
        await until_leased(schedulers)
        holds = await until_some_expired(world, replies)

    await assert_expired_once(world, holds, replies)
    await check(world, replies)


async def test_holds_expire_once_while_redis_grants_every_lock_to_everybody(make_world):
    """Both schedulers tick all the time, and both believe to be the only one."""
    async with lying_redis() as url:
        world = await make_world(REDIS_URL=url)
        replies, schedulers = await two_of_each(world)
        await until_leased(schedulers)
        holds = await until_some_expired(world, replies)
        ticks = [await scheduler.metric("wallex_ticks_published_total") for scheduler in schedulers]
        await assert_expired_once(world, holds, replies)

    await check(world, replies)
    assert min(ticks) > 0
    assert [len(leases(one, "lease_taken")) for one in schedulers] == [1, 1]

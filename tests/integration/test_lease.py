"""The lease on a real Redis: one of several works, another takes over, and no trouble of Redis stops the work."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from devstack.stack import Stack
from tests.support.workers import eventually
from worker.lease import KEY_PREFIX, LEASE_S, Lease, Standing
from worker.settings import Settings


class Contender:
    """A process that wants the lease; `works` says whether its work runs, `runs` under which numbers it began."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.works = False
        self.runs: list[int | None] = []
        self._holding = asyncio.create_task(lease.hold(self._work))

    async def stop(self) -> None:
        self._holding.cancel()
        await asyncio.wait({self._holding})

    async def _work(self) -> None:
        self.works = True
        self.runs.append(self.lease.number)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.works = False


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Redis that these tests alone flush, kill and silence."""
    stack = Stack(tmp_path_factory.mktemp("redis"))
    yield stack
    stack.down()


@pytest.fixture
def settings(servers: Stack) -> Settings:
    """Settings that point at it, up and running."""
    servers.up(["redis"])
    return Settings.load(servers.environment())


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the test's own."""
    async with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        yield client


@pytest.fixture
def name() -> str:
    """The name of a lease of the test's own."""
    return uuid4().hex


@pytest.fixture
async def contend(settings: Settings, name: str) -> AsyncIterator[Callable[[], Contender]]:
    """Start contenders for that lease."""
    started: list[Contender] = []

    def start() -> Contender:
        started.append(Contender(Lease(settings, name)))
        return started[-1]

    yield start
    for contender in started:
        await contender.stop()


async def stands_by(contender: Contender) -> None:
    """Wait until it knows that another one has the lease."""
    await eventually(lambda: contender.lease.standing is Standing.ELSEWHERE, "a contender that stands by")


async def test_one_works_and_the_other_takes_over_when_it_stops(contend):
    """A stopped holder gives the lease back, sooner than it would run out; the number grows."""
    one = contend()
    await eventually(lambda: one.works, "the first one's work")
    two = contend()
    await stands_by(two)
    assert (two.works, two.lease.granted, two.lease.number) == (False, False, None)

    await one.stop()
    await eventually(lambda: two.works, "the take-over", LEASE_S - 1)

    assert not one.works
    assert two.runs[0] == one.runs[0] + 1


async def test_a_dead_holder_is_followed_by_another(contend, redis, name):
    """What it left behind in Redis runs out by itself; the number grows on."""
    key = KEY_PREFIX + name
    await redis.set(key, "of a process that died", px=round(LEASE_S * 1000))
    await redis.set(f"{key}:number", 41)

    one = contend()
    await eventually(lambda: one.works, "the take-over", LEASE_S + 3)

    assert one.runs == [42]


async def test_who_loses_the_lease_stops_working(contend, redis):
    """The work is cancelled as soon as the holder hears that the lease is another one's."""
    one = contend()
    await eventually(lambda: one.works, "the work")

    await redis.set(KEY_PREFIX + one.lease.name, "of another process", px=round(LEASE_S * 1000))
    await eventually(lambda: not one.works, "the work's end", LEASE_S - 1)
    await eventually(lambda: one.works, "the work again, once the other is gone", LEASE_S + 3)

    assert one.runs == [1, 2]


async def test_a_flushed_redis_is_taken_anew_by_one_of_them(contend, redis):
    """Numbers begin again with 1, which nothing minds; soon one works, as before."""
    one = contend()
    await redis.set(f"{KEY_PREFIX}{one.lease.name}:number", 41)
    await eventually(lambda: one.works, "the work")
    two = contend()
    await stands_by(two)
    assert one.lease.number == 42

    await redis.flushall()
    await eventually(lambda: {one.lease.number, two.lease.number} == {None, 1}, "one holder under a new number")

    assert one.works != two.works


async def test_a_lease_that_is_taken_leaves_the_lease_of_another_name_alone(settings, redis):
    """A lease guards what its name names."""
    one, two = Contender(Lease(settings, uuid4().hex)), Contender(Lease(settings, uuid4().hex))

    await eventually(lambda: one.works and two.works, "both works")

    await one.stop()
    await two.stop()


@pytest.mark.parametrize("trouble", ["off", "silent"])
async def test_without_redis_the_work_goes_on_without_a_lease(contend, servers, trouble):
    """Each process works, whoever had the lease; with Redis back, one of them does."""
    one = contend()
    await eventually(lambda: one.works, "the work")
    two = contend()
    await stands_by(two)
    pid = servers.pid("redis")
    assert pid is not None

    if trouble == "off":
        servers.kill("redis")
    else:
        os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: one.works and two.works, "both at work")
    assert (one.lease.granted, two.lease.granted) == (True, True)

    if trouble == "off":
        await asyncio.to_thread(servers.up, ["redis"])
    else:
        os.kill(pid, signal.SIGCONT)
    await eventually(lambda: one.works != two.works, "one at work", LEASE_S + 5)


async def test_work_that_ends_gives_the_lease_back(settings, redis):
    """`hold` returns when the work does, and raises what it raises."""
    lease = Lease(settings, uuid4().hex)

    async def fail() -> None:
        raise ValueError("as the work does")

    with pytest.raises(ValueError, match="as the work does"):
        await lease.hold(fail)

    assert await redis.exists(KEY_PREFIX + lease.name) == 0
    assert not lease.granted


async def test_a_cancellation_that_comes_with_an_answer_is_heeded(settings, name, monkeypatch):
    """redis-py may lose it, before Python 3.12: the holder ends all the same, and the lease is given back."""
    lease, renewing = Lease(settings, name), asyncio.Event()

    async def renew_or_take(self: Lease) -> Standing:
        renewing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return Standing.TAKEN

    monkeypatch.setattr(Lease, "_renew_or_take", renew_or_take)
    task = asyncio.create_task(lease.hold(lambda: asyncio.sleep(LEASE_S)))
    await renewing.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=LEASE_S)

    assert task.cancelled()
    assert lease.standing is None

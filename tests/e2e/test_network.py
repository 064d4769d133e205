"""A bad network between the worker and each of its servers: everything is answered, and takes effect once.

WALLEX_FAULT_S makes the black holes last longer than the second that is enough for a hurried run; from 15 s on every
time-out of the worker's clients runs out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from devstack.server import HOST
from tests.support.documents import projecting
from tests.support.expiry import leases, start_scheduler
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.proxy import FaultProxy
from tests.support.replies import Topic, code, header
from tests.support.workers import Worker, eventually
from tests.support.world import World

FAULT_S = float(os.environ.get("WALLEX_FAULT_S", "1"))
ANSWERS_DROPPED = 20
LATENCY_S = 0.05
RESETS = 5
BYTES_TO_LIVE = {"postgres": 20_000, "kurrentdb": 20_000, "kafka": 50_000}
REQUESTS = {"postgres": b"COMMIT\0", "kurrentdb": b"WalletDebited", "kafka": b'"status":"accepted"'}
"""What stands in a request that changes something: a transaction's end, an append, the replies to a batch."""


@dataclass(frozen=True)
class Behind:
    """A worker under load, with the proxy between it and one of its servers; `told` is where that server is."""

    world: World
    told: dict[str, str]
    proxy: FaultProxy
    replies: Topic
    load: Load
    worker: Worker

    def with_heir(self) -> Behind:
        """Start the worker's successor: it goes by the same name, and the same way."""
        return replace(self, worker=self.world.start("a", **self.told))

    async def end(self) -> None:
        """Stop the worker: nothing is lost, nothing happened twice, and no reply blames the infrastructure."""
        assert await self.worker.stop() == 0
        await check(self.world, self.replies)
        assert {code(reply) for reply in self.replies.records} <= {None, "InsufficientFunds"}


@pytest.fixture
async def behind(proxy_to, make_world) -> Callable[[str], Awaitable[Behind]]:
    """Start a worker behind a proxy to that server; its wallets are open."""

    async def begin(server: str) -> Behind:
        proxy, told = await proxy_to(server)
        # Whoever uses that Kafka goes through the proxy, the test as well.
        world = await make_world(**told if server == "kafka" else {})
        replies = await world.topic(world.reply_topic)
        load = Load(world, replies)
        worker = world.start("a", **told)
        await load.open_wallets()
        assert proxy.connections
        return Behind(world, told, proxy, replies, load, worker)

    return begin


@pytest.mark.parametrize("server", REQUESTS)
async def test_a_request_whose_answer_is_lost_takes_effect_once(behind, server):
    """The server took it in, and the line was cut before it answered: many times in a run."""
    under = await behind(server)

    async with under.load.running():
        under.proxy.drop_answer_to(REQUESTS[server], every=2)
        await eventually(lambda: under.proxy.answers_dropped >= ANSWERS_DROPPED, "the answers that are lost")
        under.proxy.heal()
        await under.load.more()

    await under.end()


@pytest.mark.parametrize("server", REQUESTS)
async def test_a_worker_that_dies_while_it_waits_for_an_answer_leaves_nothing_undone(behind, server):
    """The server took the request in, the answer never came, and nobody is left who knows that it was asked for."""
    under = await behind(server)

    async with under.load.running():
        under.proxy.drop_answer_to(REQUESTS[server], cut=False)
        await eventually(lambda: under.proxy.answers_dropped, "an answer that never comes")
        assert under.worker.code is None
        under.worker.kill()
        under.proxy.heal()
        heir = under.with_heir()
        await under.load.more()

    await heir.end()
    # What the dead worker had committed has its answer from the store.
    assert any(header(reply, "replayed") == b"true" for reply in under.replies.records)


@pytest.mark.parametrize("server", REQUESTS)
async def test_a_bad_line_holds_work_up_and_changes_nothing(behind, server):
    """Latency, resets in mid-stream, answers that never come, requests that never arrive, all lines cut at once."""
    under = await behind(server)
    proxy = under.proxy

    async with under.load.running():
        proxy.latency_s = LATENCY_S
        await under.load.more()
        proxy.heal()
        proxy.reset_after(BYTES_TO_LIVE[server])
        await eventually(lambda: proxy.resets >= RESETS, "resets")
        proxy.heal()
        await under.load.more()
        for deaf in ("client", "server"):
            proxy.black_hole(deaf)
            await asyncio.sleep(FAULT_S)
            proxy.heal()
            await under.load.more()
        proxy.cut()
        await under.load.more()

    await under.end()


async def test_a_projector_on_bad_lines_misses_no_document(open_proxy, make_world, start_kurrentdb, stack):
    """Between it and KurrentDB, and between it and Elasticsearch: afterwards the documents equal the rows."""
    kurrentdb = await start_kurrentdb()
    events = await open_proxy(int(kurrentdb.target.rpartition(":")[2]))
    documents = await open_proxy(stack.port("elasticsearch"))
    world = await make_world(
        KURRENTDB_URI=f"esdb://{HOST}:{events.port}?Tls=false", ELASTICSEARCH_URL=f"http://{HOST}:{documents.port}"
    )
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a", KURRENTDB_URI=kurrentdb.uri)

    async with projecting(world) as projected:
        await load.open_wallets()
        async with load.running():
            for proxy in (events, documents):
                await load.more()
                proxy.reset_after(20_000)
                await eventually(lambda proxy=proxy: proxy.resets >= RESETS, "resets")
                proxy.heal()
                proxy.black_hole("client")
                await asyncio.sleep(FAULT_S)
                proxy.heal()
                proxy.drop_answer_to(b"_bulk")
                await load.more()
            await eventually(lambda: documents.answers_dropped, "a bulk whose answer is lost")
            documents.heal()
        assert await worker.stop() == 0
        await projected.check(await check(world, replies))


async def test_a_scheduler_that_hears_nothing_from_redis_goes_on_ticking(open_proxy, make_world, stack):
    """Redis answers late, never, or with a reset: each second a tick, and the lease is taken again afterwards."""
    world = await make_world()
    proxy = await open_proxy(stack.port("redis"))
    ticks = await world.topic(world.environment["SCHEDULE_TOPIC"])
    redis_url = f"redis://{HOST}:{proxy.port}/0"
    scheduler = start_scheduler(world, REDIS_URL=redis_url)
    await eventually(lambda: leases(scheduler, "lease_taken"), "the lease")

    for times, fault in enumerate((hear_nothing, answer_late, reset_often), 1):
        fault(proxy)
        await eventually(lambda times=times: len(leases(scheduler, "lease_unavailable")) == times, "Redis is away")
        await ticks.until_count(len(await ticks.to_end()) + 2)
        proxy.heal()
        await eventually(lambda times=times: len(leases(scheduler, "lease_taken")) == times + 1, "the lease, again")

    assert await scheduler.stop() == 0


def hear_nothing(proxy: FaultProxy) -> None:
    proxy.black_hole("client")


def answer_late(proxy: FaultProxy) -> None:
    proxy.latency_s = 1.5


def reset_often(proxy: FaultProxy) -> None:
    proxy.reset_after(10)

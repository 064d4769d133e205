"""A server is away for a while and comes back: work resumes by itself, nothing is lost or done twice, and no reply
blames the infrastructure.

WALLEX_OUTAGE_S makes the outages last so much longer than it takes to notice them. These tests kill servers, so they
have a stack of their own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.support import replies as reading
from tests.support.commands import create_wallet, credit, new_id, record_of
from tests.support.documents import documents_of
from tests.support.expiry import lease, leases, start_scheduler
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.replies import Topic, code
from tests.support.workers import PATIENCE_S, POLL_S, eventually
from worker.client import Accepted, OutcomeUnknown, Result, WalletClient
from worker.projection.progress import caught_up, read_checkpoint
from worker.settings import Settings

SERVERS = ("postgres", "kafka", "kurrentdb")
OUTAGE_S = float(os.environ.get("WALLEX_OUTAGE_S", "0"))
RESUMED_S_MAX = 10.0
"""How soon after a server's return work goes on; what piled up meanwhile takes as long again at most as it took to."""

pytestmark = pytest.mark.timeout(180 + 3 * OUTAGE_S)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for replies waits out the outage."""
    monkeypatch.setattr(reading, "PATIENCE_S", reading.PATIENCE_S + OUTAGE_S)


@pytest.fixture
def own_stack(outage_stack: Stack) -> Stack:
    """The three servers that the worker needs, for these tests alone; all of them run."""
    outage_stack.up(SERVERS)
    return outage_stack


@pytest.fixture(scope="module")
def outage_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests of this module."""
    own = Stack(Path(tmp_path_factory.mktemp("outages")))
    try:
        yield own
    finally:
        own.down()


@pytest.mark.parametrize("server", SERVERS)
async def test_work_resumes_after_an_outage(make_world, own_stack, server):
    """Killed under load and started again, a server is waited for; every command is then answered, once in effect."""
    world = await make_world(**own_stack.environment())
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()

    async with load.running():
        await load.more()
        await asyncio.to_thread(own_stack.kill, server)
        await worker.until_not_ready()
        await worker.logged("server_lost")
        await asyncio.sleep(OUTAGE_S)
        await asyncio.to_thread(own_stack.up, [server])
        resumed_s = await until_answering(replies)
        await load.more()

    print(f"{server}: resumed {resumed_s:.1f} s after its return")  # noqa: T201 - shown where it fails
    await eventually(lambda: worker.said_of_servers()[-1] == ("server_back", server), "server_back")
    assert await worker.stop() == 0
    await check(world, replies)
    assert resumed_s < RESUMED_S_MAX
    assert {code(reply) for reply in replies.records} <= {None, "InsufficientFunds"}
    said = worker.said_of_servers()
    assert said == [("server_lost", server), ("server_back", server)] * (len(said) // 2)


async def until_answering(replies: Topic) -> float:
    """Wait for a reply that was made from now on, and return how long it took, in seconds; `Load` reads the topic."""
    began, now_ms = time.monotonic(), time.time() * 1000
    await eventually(lambda: any(reply.timestamp > now_ms for reply in replies.records[-100:]), "a new reply")
    return time.monotonic() - began


async def outlast(load: Load) -> None:
    """Let an outage last that the worker does not notice: replies keep coming all the while."""
    end = time.monotonic() + OUTAGE_S
    while True:
        async with asyncio.timeout(RESUMED_S_MAX):
            await load.more()
        if time.monotonic() >= end:
            break


async def test_a_projector_resumes_after_an_outage_of_elasticsearch(make_world, own_stack, start_kurrentdb):
    """What happens meanwhile is found once it is back; the worker does not notice."""
    await asyncio.to_thread(own_stack.up, ["elasticsearch"])
    kurrentdb = await start_kurrentdb()
    world = await make_world(**own_stack.environment() | {"KURRENTDB_URI": kurrentdb.uri})
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()

    async with documents_of(world) as documents:
        async with documents.projecting():
            await documents.check(await check(world, replies))
            before = await read_checkpoint(documents.client, documents.projections)
            async with load.running():
                killed = time.monotonic()
                await asyncio.to_thread(own_stack.kill, "elasticsearch")
                await outlast(load)
                await asyncio.to_thread(own_stack.up, ["elasticsearch"])
                back = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                while await read_checkpoint(documents.client, documents.projections) == before:
                    pass
            resumed_s, missed_s = time.monotonic() - back, back - killed
            assert await caught_up(
                documents.client, kurrentdb.uri, timeout_s=RESUMED_S_MAX + missed_s, projections=documents.projections
            )
            caught_up_s = time.monotonic() - back
        # The projector has ended: what is there now was there then.
        await documents.check(await check(world, replies))

    print(  # noqa: T201 - shown where it fails
        f"elasticsearch: resumed {resumed_s:.1f} s after its return;"
        f" {len(load.sent)} commands of {missed_s:.1f} s caught up with after {caught_up_s:.1f} s"
    )
    assert await worker.stop() == 0
    assert resumed_s < RESUMED_S_MAX
    # It writes faster than the worker makes it write: otherwise it would never catch up.
    assert caught_up_s < RESUMED_S_MAX + missed_s
    assert worker.said_of_servers() == []


async def test_a_scheduler_takes_its_lease_again_after_an_outage_of_redis(make_world, own_stack):
    """Until then it ticks without one; the worker does not notice."""
    await asyncio.to_thread(own_stack.up, ["redis"])
    world = await make_world(**own_stack.environment())
    ticks = await world.topic(world.environment["SCHEDULE_TOPIC"])
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker, scheduler = world.start("a"), start_scheduler(world)
    await load.open_wallets()
    await lease(scheduler, "lease_taken")

    async with load.running():
        await asyncio.to_thread(own_stack.kill, "redis")
        await lease(scheduler, "lease_unavailable")
        await ticks.until_count(len(await ticks.to_end()) + 2)
        await outlast(load)
        await ticks.until_count(len(await ticks.to_end()) + 2)
        await asyncio.to_thread(own_stack.up, ["redis"])
        began = time.monotonic()
        await eventually(lambda: len(leases(scheduler, "lease_taken")) == 2, "the lease, again")
        resumed_s = time.monotonic() - began

    print(f"redis: lease taken {resumed_s:.1f} s after its return")  # noqa: T201 - shown where it fails
    assert [await scheduler.stop(), await worker.stop()] == [0, 0]
    await check(world, replies)
    assert resumed_s < RESUMED_S_MAX
    assert worker.said_of_servers() == []


async def test_a_worker_waits_for_servers_that_are_not_there_yet(make_world, own_stack):
    """Started before Postgres and KurrentDB, it takes up its work once they are there."""
    world = await make_world(**own_stack.environment())
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    for server in ("postgres", "kurrentdb"):
        await asyncio.to_thread(own_stack.kill, server)
    worker = world.start("a")
    await worker.logged("server_lost")

    await asyncio.to_thread(own_stack.up, ("postgres", "kurrentdb"))
    await load.open_wallets()

    assert await worker.stop() == 0
    await check(world, replies)


async def test_a_client_lives_through_an_outage_of_kafka(make_world, own_stack):
    """What it does not know it asks again under the same id: every command is answered, and takes effect once."""
    world = await make_world(**own_stack.environment())
    world.start("a")
    wallet_id = new_id()

    async with WalletClient(Settings.load(world.environment), timeout_s=3) as wallets:
        assert isinstance(await answer_of(wallets, wallets.create_wallet(wallet_id, "owner")), Accepted)
        before = [asyncio.create_task(answer_of(wallets, wallets.credit(wallet_id, 1))) for _ in range(50)]
        await asyncio.wait(before, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(own_stack.kill, "kafka")
        meanwhile = [asyncio.create_task(answer_of(wallets, wallets.credit(wallet_id, 1))) for _ in range(50)]
        await asyncio.to_thread(own_stack.up, ["kafka"])
        answers = await asyncio.gather(*before, *meanwhile)
        last = await answer_of(wallets, wallets.debit(wallet_id, 100))

    assert all(isinstance(answer, Accepted) for answer in answers)
    assert last.wallets[0].balance == 0


async def answer_of(wallets: WalletClient, asked: Awaitable[Result]) -> Result:
    """Ask the same again for as long as the outcome is unknown."""
    while True:
        try:
            return await asked
        except OutcomeUnknown as unknown:
            asked = wallets.send(unknown.command)


async def test_a_partition_whose_segments_are_gone_is_stopped_and_the_others_go_on(make_world, own_stack):
    """The broker comes back with an empty log for it, which then gets other commands under the old offsets."""
    world = await make_world(**own_stack.environment())
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(world.partitions)]
    sent = [record_of(create_wallet(wallet), partition=place) for place, wallet in enumerate(wallets)]
    sent += [record_of(credit(wallets[0]), partition=0) for _ in range(20)]
    worker = world.start("a", KAFKA_GROUP_INSTANCE_ID="")
    await replies.until_answered(await world.send(sent))
    while (await world.committed()).get(0) != 21:  # noqa: ASYNC110 - another process commits
        await asyncio.sleep(POLL_S)

    await asyncio.to_thread(own_stack.down, ["kafka"])
    for segment in (own_stack.folder / "kafka" / "data" / f"{world.command_topic}-0").iterdir():
        segment.unlink()
    await asyncio.to_thread(own_stack.up, ["kafka"])
    lost = await world.send([record_of(credit(wallets[0]), partition=0) for _ in range(30)])

    stopped = await worker.logged("partition_stopped")
    assert "its log was replaced" in stopped["why"]
    others = [record_of(credit(wallet), partition=place) for place, wallet in enumerate(wallets) if place]
    await replies.until_answered(await world.send(others))
    assert await worker.stop() == 0
    await world.commit({0: 0})
    world.start("b")
    assert {code(reply) for reply in await replies.until_answered(lost)} == {None}

"""A server is away for a while and comes back: work resumes by itself, nothing is lost or done twice, and no reply
blames the infrastructure.

These tests kill servers, so they have a stack of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.support.commands import new_id
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.replies import code
from worker.client import Accepted, OutcomeUnknown, Result, WalletClient
from worker.settings import Settings

SERVERS = ("postgres", "kafka", "kurrentdb")


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
        own.down(SERVERS)


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
        await asyncio.to_thread(own_stack.up, [server])
        await load.more()

    assert await worker.stop() == 0
    await check(world, replies)
    assert {code(reply) for reply in replies.records} <= {None, "InsufficientFunds"}
    assert {line["server"] for line in worker.lines("server_lost")} <= {server}


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

"""What KurrentDB may do to a worker under load: write and not say so, say nothing, not be ready, be slow, go away in
its own way, lose a call and get it back. Each event is in its stream once, and nobody is told of it but by waiting.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.integration.kurrentdb.standin import StandIn
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.replies import Topic, code
from tests.support.workers import Worker
from tests.support.world import World

FAULTS = [
    {"timeout_after_write_every": 3, "timeout_ms": 300},
    {"timeout_before_write_every": 3, "timeout_ms": 300},
    {"drop_after_commit_every": 3},
    {"drop_before_commit_every": 3},
    {"not_ready_s": 1.5},
    {"fsync_delay_ms": 200},
    {"append_delay_max_ms": 100},
]
GRACE_S = 1.0
NOT_READY_S = 2.0


class Scene:
    """A worker under load, on a KurrentDB of the test's own."""

    def __init__(self, kurrentdb: StandIn, world: World, replies: Topic) -> None:
        self.kurrentdb, self.world, self.replies = kurrentdb, world, replies
        self.load = Load(world, replies)
        self.worker: Worker = world.start("a")

    async def check(self) -> None:
        """Stop the worker: everything that was sent is answered, has its effect once, and blames no server."""
        assert await self.worker.stop() == 0
        await check(self.world, self.replies)
        assert {code(reply) for reply in self.replies.records} <= {None, "InsufficientFunds"}


@pytest.fixture
async def scene(make_world, start_kurrentdb) -> Scene:
    """All is well so far."""
    kurrentdb = await start_kurrentdb()
    world = await make_world(KURRENTDB_URI=kurrentdb.uri)
    scene = Scene(kurrentdb, world, await world.topic(world.reply_topic))
    await scene.load.open_wallets()
    return scene


@pytest.mark.parametrize("append_records", [True, False], ids=["append_records", "append_to_stream"])
async def test_appends_that_go_wrong_in_every_way_are_there_once(scene, append_records):
    """Written and not acknowledged, timed out with and without the write, cut, not ready, slow, overtaking: in turn."""
    await scene.kurrentdb.set_faults(append_records=append_records)

    async with scene.load.running():
        for faults in FAULTS:
            await scene.kurrentdb.set_faults(**faults)
            await scene.load.more()
            await scene.kurrentdb.set_faults(**dict.fromkeys(faults, 0))
        await scene.load.more()

    await scene.check()
    assert [line["server"] for line in scene.worker.lines("server_lost")].count("kurrentdb") >= 1


async def test_a_server_that_goes_on_after_sigterm_cuts_every_call_and_comes_back_not_ready(scene, start_kurrentdb):
    """As a node of a cluster that is replaced: what it took and did not answer is sent to the next one again."""
    port = int(scene.kurrentdb.target.rpartition(":")[2])
    await scene.kurrentdb.set_faults(sigterm_grace_s=GRACE_S, fsync_delay_ms=50)

    async with scene.load.running():
        stopping = asyncio.create_task(scene.kurrentdb.stop(signal.SIGTERM))
        await scene.kurrentdb.wait_for_output("stopping in")
        await scene.load.more()
        await stopping
        await scene.worker.logged("server_lost")
        await start_kurrentdb("--not-ready-s", str(NOT_READY_S), port=port)
        back = await scene.worker.logged("server_back")
        await scene.load.more()

    await scene.check()
    assert back["server"] == "kurrentdb"
    assert back["outage_s"] > NOT_READY_S


async def test_a_server_that_loses_the_call_for_batches_and_gets_it_back_under_load(scene):
    """An older node takes over: stream by stream from then on, and by batches again from the next start on."""
    async with scene.load.running():
        await scene.load.more()
        await scene.kurrentdb.set_faults(append_records=False)
        await scene.worker.logged("append_records_missing")
        await scene.load.more()
        await scene.kurrentdb.set_faults(append_records=True)
        await scene.load.more()
        assert await scene.worker.stop() == 0
        before, scene.worker = scene.worker, scene.world.start("a")
        await scene.load.more()

    await scene.check()
    assert len(before.lines("append_records_missing")) == 1
    assert scene.worker.lines("append_records_missing") == []

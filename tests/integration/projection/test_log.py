"""The other end of the projection: a KurrentDB that dies, falls silent, is quiet, or is another one."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.projecting import a_projector, all_written, documents, is_following, is_waiting, until
from tests.support.projection import StandIn, wallet_events
from worker.errors import Fatal
from worker.projection.follow import EventLog
from worker.projection.projector import ForeignCheckpoint
from worker.projection.subscription import SubscriptionLost


async def test_a_kurrentdb_that_dies_and_comes_back_is_followed_on(elasticsearch, kurrentdb, projections, projecting):
    """Lost: `/readyz` says so. Back: from the checkpoint on, by itself."""
    kurrentdb.append(wallet_events(["100"]))
    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)
        kurrentdb.kill()
        await until(lambda: is_waiting(projector))

        await kurrentdb.start()
        kurrentdb.append(wallet_events(["7"]))
        await all_written(elasticsearch, kurrentdb, projections)
        await until(lambda: is_following(projector))

    assert len(await documents(elasticsearch, projections[0])) == 2


async def test_a_connection_that_falls_silent_is_given_up(kurrentdb):
    """A half-open connection says nothing for ever: after a while without events the server is asked."""
    kurrentdb.append(wallet_events(["100"]))

    async with EventLog.connect(kurrentdb.uri) as events, events.subscribe(None) as subscription:
        assert len(await subscription.take_batch()) == 1
        kurrentdb.pause()

        with pytest.raises(SubscriptionLost, match="DEADLINE_EXCEEDED"):
            await subscription.take_batch(silence_s=0.1)


async def test_a_quiet_server_is_no_lost_one(kurrentdb):
    """Where nothing happens nothing comes: asked, the server has no more either, and the subscription stays."""
    kurrentdb.append(wallet_events(["100"]))

    async with EventLog.connect(kurrentdb.uri) as events, events.subscribe(None) as subscription:
        await subscription.take_batch()
        quiet = asyncio.create_task(subscription.take_batch(silence_s=0.05))
        await asyncio.wait({quiet}, timeout=0.5)
        assert not quiet.done()
        kurrentdb.append(wallet_events(["7"]))

        assert len(await quiet) == 1


@pytest.mark.parametrize("others", [0, 200])
async def test_indices_made_from_another_kurrentdb_are_refused(
    elasticsearch, kurrentdb, projections, projecting, tmp_path, others
):
    """Its position would be beyond the end, and nothing would ever come; or among other events, and some be missing."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    (tmp_path / "another").mkdir()
    another = StandIn(tmp_path / "another")
    await another.start()
    for _ in range(others // 20):
        another.append(wallet_events(["1"] * 20))

    try:
        with pytest.raises(
            ForeignCheckpoint, match=f"index {projections[0].alias}-000001 was made from another KurrentDB"
        ):
            await a_projector(elasticsearch, another, projections).run(asyncio.Event())
    finally:
        another.kill()


async def test_a_kurrentdb_uri_that_makes_no_sense_is_named():
    """What the settings can't know, and waiting would not mend, ends the process with the variable's name."""
    with pytest.raises(Fatal, match=r"KURRENTDB_URI: .*nonsense"):
        async with EventLog.connect("esdb://localhost:2113?Tls=nonsense"):
            pass

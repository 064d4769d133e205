"""The other end of the projection: a KurrentDB that dies, falls silent, is quiet, or is another one."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.support.projecting import a_projector, all_written, documents, is_following, is_waiting, until
from tests.support.projection import StandIn, wallet_events
from tests.support.proxy import FaultProxy
from worker.errors import Fatal
from worker.projection.elastic import connect_elasticsearch
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


def said_of_servers(logs):
    """What the log says of servers that are lost or back."""
    return [(line["event"], line["server"]) for line in logs if line["event"].startswith("server_")]


async def test_a_quiet_projector_is_ready_again_once_kurrentdb_is_back(
    elasticsearch, kurrentdb, projections, projecting
):
    """No event may come for long: that KurrentDB has no more is enough, and is said in one line."""
    kurrentdb.append(wallet_events(["100"]))
    with capture_logs() as logs:
        async with projecting() as projector:
            await all_written(elasticsearch, kurrentdb, projections)
            kurrentdb.kill()
            await until(lambda: is_waiting(projector))

            await kurrentdb.start()
            await until(lambda: is_following(projector))

    assert said_of_servers(logs) == [("server_lost", "kurrentdb"), ("server_back", "kurrentdb")]


async def test_an_elasticsearch_that_does_not_answer_is_one_line_and_another_when_it_does(
    stack, kurrentdb, projections, projecting
):
    """The projector waits with what it has read, and `/readyz` says why."""
    async with (
        FaultProxy("127.0.0.1", stack.port("elasticsearch")) as proxy,
        connect_elasticsearch(f"http://127.0.0.1:{proxy.port}") as behind,
    ):
        running = a_projector(behind, kurrentdb, projections)
        stop = asyncio.Event()
        with capture_logs() as logs:
            task = asyncio.create_task(running.run(stop))
            await until(lambda: is_following(running))
            proxy.reset_after(0)
            proxy.cut()
            kurrentdb.append(wallet_events(["100"]))
            await until(lambda: is_waiting(running))
            proxy.heal()
            await until(lambda: is_following(running))
            stop.set()
            await task

    assert said_of_servers(logs) == [("server_lost", "elasticsearch"), ("server_back", "elasticsearch")]


async def test_without_work_an_elasticsearch_that_is_lost_is_noticed_and_one_that_is_back(
    stack, kurrentdb, projections, monkeypatch
):
    """No event comes, so nobody writes: `/readyz` and the log say it all the same, once each."""
    monkeypatch.setattr("worker.projection.answers.ASK_EVERY_S", 0.05)
    async with (
        FaultProxy("127.0.0.1", stack.port("elasticsearch")) as proxy,
        connect_elasticsearch(f"http://127.0.0.1:{proxy.port}") as behind,
    ):
        running = a_projector(behind, kurrentdb, projections)
        stop = asyncio.Event()
        with capture_logs() as logs:
            task = asyncio.create_task(running.run(stop))
            await until(lambda: is_following(running))
            proxy.reset_after(0)
            proxy.cut()
            await until(lambda: is_waiting(running))
            proxy.heal()
            await until(lambda: is_following(running))
            stop.set()
            await task

    assert said_of_servers(logs) == [("server_lost", "elasticsearch"), ("server_back", "elasticsearch")]


async def test_without_work_a_kurrentdb_that_falls_silent_is_noticed(kurrentdb, projecting, monkeypatch):
    """Its connections stay open, and a quiet one is what a projector without work sees anyway."""
    monkeypatch.setattr("worker.projection.answers.ASK_EVERY_S", 0.05)
    with capture_logs() as logs:
        async with projecting() as projector:
            await until(lambda: is_following(projector))
            kurrentdb.pause()
            await until(lambda: is_waiting(projector))

    assert ("server_lost", "kurrentdb") in said_of_servers(logs)


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

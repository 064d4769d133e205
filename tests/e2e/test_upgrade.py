"""A rolling upgrade: the release before formats and the one of now, as workers of one group, on the same stores."""

from __future__ import annotations

import random
import signal
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord

from tests.support import commands as say
from tests.support.commands import Command, new_id, record_of
from tests.support.documents import Documents, projecting
from tests.support.invariants import check
from tests.support.ledger import until_over
from tests.support.postgres import administrator
from tests.support.release import unpack
from tests.support.replies import Topic, code, content, header
from tests.support.workers import Worker, eventually
from tests.support.world import World
from worker.audit.report import Report
from worker.audit.stores import Stores, open_postgres
from worker.audit.streams import Streams
from worker.audit.verify import verify
from worker.contracts.commands import COMMAND_TYPES
from worker.contracts.events import EventType
from worker.outbox.event_store import open_event_store
from worker.outbox.installation import Installation
from worker.projection.follow import EventLog
from worker.settings import Settings

BEFORE_FORMATS = "b1743f6"
SHARED_TRANSFERS = 200
SOON = timedelta(seconds=2)


def story(soon: str) -> tuple[list[Command], list[Command]]:
    """Commands of every type, accepted, and a refusal; behind them what is sent once `soon` is over."""
    a, b, captured, released, expired, in_group = (new_id() for _ in range(6))
    first = [
        say.create_wallet(a, "100", metadata={"plan": "gold", "b": [1, 2.5, None]}),
        say.create_wallet(b, "0", reference="é"),
        say.credit(a, "2.5", currency="USD", expectedVersion=0, reference="r", metadata={"b": 1, "a": {"é": None}}),
        say.debit(a, 1),
        say.debit(b, "1"),
        say.transfer(a, b, "10"),
        say.place_hold(a, captured, "10", holdType="ESCROW", expiresAt="9999-12-31T23:59:59.999999Z"),
        say.place_hold(a, released, "5", reference="room", metadata={"n": 1}),
        say.place_hold(a, expired, "1", expiresAt=soon),
        say.capture_hold(a, captured, amount="4", toWalletId=b),
        say.release_hold(a, released),
        say.suspend_wallet(a, reason="review"),
        say.reactivate_wallet(a),
        say.update_metadata(a, {"plan": None, "zip": "1"}),
        say.atomic(say.place_hold(b, in_group, "14"), say.capture_hold(b, in_group), reference="g", metadata={"k": 1}),
        say.close_wallet(b),
    ]
    return first, [say.expire_hold(a, expired)]


def group_of_everything() -> Command:
    """A group of all parts that make an event at once: all but an expiry."""
    a, b, captured, released = (new_id() for _ in range(4))
    return say.atomic(
        say.create_wallet(a, "100", metadata={"plan": "gold", "b": [1, 2.5, None]}),
        say.create_wallet(b, "0"),
        say.credit(a, "2.5", reference="r", metadata={"b": 1, "a": {"é": None}}),
        say.transfer(a, b, "10"),
        say.place_hold(a, captured, "10", holdType="ESCROW", expiresAt="9999-12-31T23:59:59.999999Z"),
        say.place_hold(a, released, "5", reference="room", metadata={"n": 1}),
        say.capture_hold(a, captured, amount="4", toWalletId=b),
        say.release_hold(a, released),
        say.suspend_wallet(a, reason="review"),
        say.reactivate_wallet(a),
        say.update_metadata(a, {"plan": None, "zip": "1"}),
        say.debit(b, "14"),
        say.close_wallet(b),
        reference="group",
        metadata={"k": 1},
    )


async def partitions_of(worker: Worker, world: World, others: int) -> list[int]:
    """The partitions that `worker` has once it shares them with so many others."""

    def shared() -> list[str]:
        return next(iter([line["partitions"] for line in worker.lines("partitions_assigned")][-1:]), [])

    await eventually(lambda: 0 < len(shared()) <= world.partitions // (others + 1), "a share of the partitions")
    return [int(name.rpartition("-")[2]) for name in shared()]


async def tell(world: World, replies: Topic, partition: int, commands: list[Command]) -> list[ConsumerRecord]:
    """Send `commands` to whoever has `partition`; the replies."""
    return await replies.until_answered(await world.send(record_of(one, partition=partition) for one in commands))


async def verified(world: World, documents: Documents) -> Report:
    """What `wallex verify` says of the world's stores."""
    settings = Settings.load(world.environment)
    uri = settings.kurrentdb_uri.get_secret_value()
    async with (
        open_postgres(settings) as engine,
        EventLog.connect(uri) as log,
        Streams.connect(uri) as streams,
        open_event_store(uri, Installation(engine).check) as store,
    ):
        return await verify(Stores(engine, log, streams, documents.client, store, *documents.projections), settle_s=60)


def assert_repeated(first: list[ConsumerRecord], again: list[ConsumerRecord]) -> None:
    """Each reply is the first one, byte for byte, and says that it is a repeat."""
    assert [reply.value for reply in again] == [reply.value for reply in first]
    assert {header(reply, "replayed") for reply in again} == {b"true"}


@pytest.mark.timeout(240)
async def test_two_releases_know_each_others_commands_and_make_the_same_events(make_world, start_kurrentdb, tmp_path):
    """What one ran is a repeat to the other, and another payload a conflict; all stores agree on the events of both."""
    before = unpack(BEFORE_FORMATS, tmp_path / "before")
    assert before.where().startswith(before.environment["PYTHONPATH"])
    world = await make_world(KURRENTDB_URI=(await start_kurrentdb()).uri)
    replies = await world.topic(world.reply_topic)
    old = world.start("old", command=before.command, **before.environment)
    new = world.start("new")
    (to_old, *_), (to_new, *_) = [await partitions_of(worker, world, others=1) for worker in (old, new)]
    soon = datetime.now(UTC) + SOON

    async with projecting(world) as documents:
        (by_old, old_later), (by_new, new_later) = story(soon.isoformat()), story(soon.isoformat())
        sent = [
            await world.send(record_of(one, partition=partition) for one in commands)
            for partition, commands in ((to_old, by_old), (to_new, by_new))
        ]
        ran_by_old, ran_by_new = [await replies.until_answered(ids) for ids in sent]
        shared = [command["walletId"] for command in (by_old[0], by_new[0])]
        mixed = [say.transfer(*random.sample(shared, 2), "0.01") for _ in range(SHARED_TRANSFERS)]
        places = [random.choice((to_old, to_new)) for _ in mixed]
        ids = await world.send(record_of(one, partition=place) for one, place in zip(mixed, places, strict=True))
        ran_by_either = await replies.until_answered(ids)
        await until_over(world.environment, soon)
        ran_by_old += await tell(world, replies, to_old, old_later)
        ran_by_new += await tell(world, replies, to_new, new_later)

        assert_repeated(ran_by_old, await tell(world, replies, to_new, by_old + old_later))
        assert_repeated(ran_by_new, await tell(world, replies, to_old, by_new + new_later))
        for partition in (to_old, to_new):
            assert_repeated(ran_by_either, await tell(world, replies, partition, mixed))
        others = [(to_new, by_old[2] | {"amount": "2.6"}), (to_old, by_new[2] | {"reference": "s"})]
        conflicts = [reply for place, other in others for reply in await tell(world, replies, place, [other])]

        assert [code(reply) for reply in conflicts] == ["IdempotencyConflict"] * len(conflicts)
        for ran in (ran_by_old, ran_by_new):
            assert {content(reply)["type"] for reply in ran} == {model.__name__ for model in COMMAND_TYPES}
            assert [code(reply) for reply in ran if code(reply)] == ["InsufficientFunds"]
        assert await old.metric("wallex_commands_total") > 0 < await new.metric("wallex_commands_total")
        assert [await worker.stop() for worker in (old, new)] == [0, 0]
        books = await check(world, replies)
        assert {event.type for stream in books.streams.values() for event in stream} == set(EventType)
        report = await verified(world, documents)
        assert report.is_clean, report.differences


@pytest.mark.parametrize("dies", ["old", "new"])
async def test_one_release_appends_what_the_other_one_committed(make_world, start_kurrentdb, tmp_path, dies):
    """Killed behind the commit, one of them leaves rows: the other makes the events of them that belong there."""
    before = unpack(BEFORE_FORMATS, tmp_path / "before")
    old = {"command": before.command, **before.environment}
    crashing, recovering = (old, {}) if dies == "old" else ({}, old)
    world = await make_world(KURRENTDB_URI=(await start_kurrentdb()).uri)
    replies = await world.topic(world.reply_topic)

    async with projecting(world) as documents:
        # The stores of an installation share events, by which a release that compares stores knows them.
        at_work = world.start("a", **old)
        await replies.until_answered(await world.send([say.create_wallet(new_id())]))
        assert await at_work.stop() == 0
        sent = await world.send([group_of_everything()])
        assert await world.start("a", WALLEX_CRASH_POINT="commit", **crashing).ended() == -signal.SIGKILL
        worker = world.start("a", **recovering)
        (reply,) = await replies.until_answered(sent)
        assert await worker.stop() == 0

        assert (code(reply), header(reply, "replayed")) == (None, b"true")
        books = await check(world, replies)
        made = {event.type for stream in books.streams.values() for event in stream}
        assert made == set(EventType) - {EventType.HOLD_EXPIRED}
        report = await verified(world, documents)
        assert report.is_clean, report.differences


async def test_a_worker_that_finds_rows_of_a_later_release_ends(world):
    """It does not guess whether a command is a repeat, and says in one line which release is needed."""
    replies = await world.topic(world.reply_topic)
    command = say.create_wallet(new_id())
    first = world.start("a")
    await replies.until_answered(await world.send([command]))
    assert await first.stop() == 0
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        await connection.execute("UPDATE commands SET fingerprint_format = 2")

    (again,) = await world.send([command])
    worker = world.start("a")

    assert await worker.ended() == 70
    assert "in format 2, which a later release of Wallex has written" in worker.lines("stopping")[0]["error"]
    await replies.to_end()
    assert replies.to(again) == []

"""Holds that expire by themselves: scheduler, schedule topic, worker and every store, as processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from tests.support.commands import Record, create_wallet, credit, expire_hold, new_id, place_hold, publish, record_of
from tests.support.expiry import (
    assert_expired_once,
    is_expiry,
    lease,
    place_holds,
    soon,
    start_scheduler,
    until_expired,
)
from tests.support.replies import code, content, header
from tests.support.workers import eventually

TICK = b'{"type":"ExpireDueHolds"}'


async def test_a_hold_expires_by_itself_and_its_owner_hears_of_it(world):
    """Within seconds, on the reply topic of its `PlaceHold`, under both correlation ids, by the attempt's own id."""
    wallet, hold_id, own = new_id(), new_id(), f"{world.reply_topic}.shop"
    await world.create_topic(own)
    replies, owners = await world.topic(world.reply_topic), await world.topic(own)
    worker, scheduler = world.start("a"), start_scheduler(world)
    await worker.assigned()
    await world.send([create_wallet(wallet, "100")])
    came_with = {"reply_to": own.encode(), "correlation_id": b"order-4711", "kafka_correlationId": b"\x00\xff"}
    await world.send_as_is([record_of(place_hold(wallet, hold_id, "30", expiresAt=soon()), *came_with.items())])

    await until_expired(owners, [hold_id])

    reply = owners.records[-1]
    assert (header(reply, "correlation_id"), header(reply, "kafka_correlationId")) == (b"order-4711", b"\x00\xff")
    assert content(reply)["commandId"] == str(uuid5(UUID(hold_id), "1"))
    assert content(reply)["wallets"][0]["availableBalance"] == "100.0000"
    times = content(reply)["hold"]["expiresAt"], content(reply)["processedAt"]
    due, processed = map(datetime.fromisoformat, times)
    assert due <= processed < due + timedelta(seconds=10)
    line = await worker.logged("holds_due")
    assert line["published"] == 1 and 0 <= line["lag_s"] < 10
    assert await worker.metric("wallex_expiries_published_total") == 1
    await scheduler.until_ready()
    assert await scheduler.metric("wallex_ticks_published_total") >= 2
    assert await scheduler.metric("wallex_lease_held") >= 1
    assert (await lease(scheduler, "lease_taken"))["number"] == 1
    await assert_expired_once(world, [hold_id], replies, owners)


async def test_of_two_schedulers_one_ticks_and_the_other_takes_over_when_it_is_killed(world):
    """The lease of the dead one runs out; its follower has a higher number; holds expire once, all the while."""
    replies, ticks = await world.topic(world.reply_topic), await world.topic(world.environment["SCHEDULE_TOPIC"])
    worker, first = world.start("a"), start_scheduler(world, "first")
    await worker.assigned()
    await lease(first, "lease_taken")
    second = start_scheduler(world, "second")
    await lease(second, "lease_elsewhere")
    early = await place_holds(world, 1, soon(0.5))
    await until_expired(replies, early)
    assert await second.metric("wallex_ticks_published_total") == 0

    first.kill()
    late = await place_holds(world, 1, soon(0.5))
    await until_expired(replies, late)

    numbers = [json.loads(record.value)["leaseNumber"] for record in await ticks.to_end()]
    assert set(numbers) == {1, 2}
    assert (await lease(second, "lease_taken"))["number"] == 2
    await assert_expired_once(world, [*early, *late], replies)


async def test_broken_ticks_are_skipped_and_hurt_no_command(world):
    """Null, not JSON, unknown, with null and binary headers: said in the log; a tick by hand still does its work."""
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")
    await worker.assigned()
    broken = [None, b"", b"{", b"[]", b"\xff\x00", b'{"type":"Other"}', b'{"type":"ExpireDueHolds","leaseNumber":"x"}']
    headers = (("correlation_id", None), ("reply_to", b"\xff\x00"), ("content-type", b"application/json"))
    schedule = world.environment["SCHEDULE_TOPIC"]
    await publish(world.producer, schedule, [Record(b"k", value, headers, partition=0) for value in broken])
    await eventually(
        lambda: sum(line["count"] for line in worker.lines("ticks_skipped")) == len(broken), "the broken ticks"
    )
    assert {line["topic"] for line in worker.lines("ticks_skipped")} == {schedule}

    expires_at = soon()
    (hold_id,) = await place_holds(world, 1, expires_at)
    await replies.until_count(2)
    await eventually(lambda: datetime.now(UTC) > datetime.fromisoformat(expires_at), "the hold's end")
    await publish(world.producer, schedule, [Record(None, TICK, headers)])
    await until_expired(replies, [hold_id])

    assert worker.code is None
    assert await worker.metric("wallex_dead_letters_total") == 0
    await assert_expired_once(world, [hold_id], replies)


async def test_what_is_sent_early_cannot_keep_a_hold(world):
    """The id of the first attempt taken by a refused `ExpireHold`, that of the second by another command altogether."""
    wallet, hold_id = new_id(), new_id()
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")
    await worker.assigned()
    ids = [str(uuid5(UUID(hold_id), name)) for name in ("1", "2", "3")]
    early = await world.send(
        [
            create_wallet(wallet, "100"),
            place_hold(wallet, hold_id, "30", expiresAt=soon(3)),
            expire_hold(wallet, hold_id, commandId=ids[0]),
            credit(wallet, "1", commandId=ids[1]),
        ]
    )
    assert [code(reply) for reply in await replies.until_answered(early)] == [None, None, "HoldNotDue", None]

    start_scheduler(world)
    await until_expired(replies, [hold_id])

    assert [content(record)["commandId"] for record in replies.records if is_expiry(record)] == [ids[2]]
    await assert_expired_once(world, [hold_id], replies)

"""Holds that expire by themselves: scheduler, schedule topic, worker and every store, as processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
from aiokafka import ConsumerRecord
from redis.asyncio import Redis

from devstack.ports import free_port
from tests.support.commands import Record, create_wallet, credit, expire_hold, new_id, place_hold, publish, record_of
from tests.support.invariants import check_effects, check_rows, check_streams, read_books
from tests.support.replies import Topic, code, content, header
from tests.support.workers import WALLEX_WORKER, Worker, eventually
from tests.support.world import World
from worker.lease import KEY_PREFIX

WALLEX_SCHEDULER = (WALLEX_WORKER[0], "scheduler")
TICK = b'{"type":"ExpireDueHolds"}'


def start_scheduler(world: World, name: str = "scheduler", **environment: str) -> Worker:
    return world.start(name, command=WALLEX_SCHEDULER, **environment)


def leases(scheduler: Worker, event: str) -> list[dict[str, Any]]:
    """Its log lines about the lease of the ticks; it may want others."""
    return [line for line in scheduler.lines(event) if line["lease"].startswith("ticks:")]


async def lease(scheduler: Worker, event: str) -> dict[str, Any]:
    """Wait for its first such line."""
    await eventually(lambda: leases(scheduler, event), f"{event} of the ticks")
    return leases(scheduler, event)[0]


def soon(seconds: float = 1.5) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def is_expiry(record: ConsumerRecord) -> bool:
    """Whether this is the reply to an `ExpireHold` that ended its hold."""
    reply = content(record)
    return (reply["type"], reply["status"]) == ("ExpireHold", "accepted")


async def until_expired(replies: Topic, holds: Collection[str]) -> None:
    """Wait until each hold's end was answered."""

    def ended() -> set[str]:
        return {content(record)["hold"]["holdId"] for record in replies.records if is_expiry(record)}

    await replies.until(lambda: ended() >= set(holds), f"the expiry of {len(holds)} holds")


async def assert_expired_once(world: World, holds: Collection[str], *replies: Topic) -> None:
    """Stop what runs: each hold has exactly one `HoldExpired`, and ledger, rows, streams and replies agree."""
    assert {await worker.stop() for worker in world.workers if worker.code is None} == {0}
    books = await read_books(world)
    check_rows(books)
    check_effects(books, [record for topic in replies for record in await topic.to_end()])
    check_streams(books)
    events = [event for stream in books.streams.values() for event in stream if event.type == "HoldExpired"]
    assert sorted(json.loads(event.data)["hold"]["holdId"] for event in events) == sorted(holds)


async def place_holds(world: World, count: int, expires_at: str) -> list[str]:
    """Place so many holds, each in a wallet of its own."""
    wallets, holds = [new_id() for _ in range(count)], [new_id() for _ in range(count)]
    await world.send(map(create_wallet, wallets))
    await world.send(place_hold(wallet, id_, expiresAt=expires_at) for wallet, id_ in zip(wallets, holds, strict=True))
    return holds


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


@pytest.mark.parametrize("trouble", ["off", "forgetful"])
async def test_holds_expire_once_whatever_redis_does(world, trouble):
    """Two schedulers and two workers, without Redis, or with one that forgets every lease: no correctness needs it."""
    lease_key = f"{KEY_PREFIX}ticks:{world.environment['SCHEDULE_TOPIC']}"
    nowhere = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"} if trouble == "off" else {}
    replies = await world.topic(world.reply_topic)
    workers = [world.start(name) for name in "ab"]
    schedulers = [start_scheduler(world, name, **nowhere) for name in ("first", "second")]
    for worker in workers:
        await worker.assigned()

    async def forget() -> None:
        async with Redis.from_url(world.environment["REDIS_URL"]) as redis:
            while True:
                await redis.delete(lease_key, f"{lease_key}:number")
                await asyncio.sleep(0.05)

    forgetting = asyncio.create_task(forget())
    holds = await place_holds(world, 50, soon(3))
    await until_expired(replies, holds)
    forgetting.cancel()
    with suppress(asyncio.CancelledError):
        await forgetting

    for scheduler in schedulers if trouble == "off" else ():
        await lease(scheduler, "lease_unavailable")
        assert len(leases(scheduler, "lease_unavailable")) == 1
        assert await scheduler.metric("wallex_ticks_published_total") > 0
    await assert_expired_once(world, holds, replies)


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

    expires_at = soon(1)
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

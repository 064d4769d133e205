"""Two workers on the same wallets: they wait for each other, and never in a circle, in Postgres or in KurrentDB."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from tests.support.commands import capture_hold, create_wallet, expire_hold, new_id, place_hold, record_of, transfer
from tests.support.invariants import check
from tests.support.ledger import until_over
from tests.support.replies import Topic, code, content
from tests.support.world import World

OPPOSITE_TRANSFERS = 1_000
SHARED_WALLETS = 10
SHARED_TRANSFERS = 1_000
REFUSED_MAX = SHARED_TRANSFERS // 10
"""A handful is usual; a storm is one refusal for each transfer and more."""
HOLDS = 200
AT_ONCE = 20
APART = timedelta(milliseconds=3)
"""A volley of captures and expiries is let loose as the first of its holds ends; the others end so long after it."""
PLACED_WITHIN = timedelta(seconds=4)
ENDS = {"CaptureHold": "CAPTURED", "ExpireHold": "EXPIRED"}


async def two_workers(world: World) -> Topic:
    """Start two workers and wait until they share the partitions."""
    replies = await world.topic(world.reply_topic)
    one, two = world.start("a"), world.start("b")
    await two.assigned()
    # Whoever came first had all partitions, unless both were there in time.
    await one.logged("partitions_assigned", 1 if len(await one.assigned()) < world.partitions else 2)
    return replies


async def stopped(world: World, replies: Topic) -> None:
    """Stop the workers and check everything."""
    assert [await worker.stop() for worker in world.workers] == [0] * len(world.workers)
    await check(world, replies)


async def test_opposite_transfers_from_two_workers_wait_instead_of_deadlocking(world, stack):
    """All are answered, and Postgres had no deadlock to break."""
    one, two = new_id(), new_id()
    begin = log_since(stack, 0)
    replies = await two_workers(world)
    await replies.until_answered(await world.send([create_wallet(one), create_wallet(two)]))

    # Each direction lies in a partition of its own, and each worker has two of the four partitions.
    there = [transfer(one, two, "0.01") for _ in range(OPPOSITE_TRANSFERS // 2)]
    back = [transfer(two, one, "0.01") for _ in range(OPPOSITE_TRANSFERS // 2)]
    sent = await world.send(command for both in zip(there, back, strict=True) for command in both)
    found = await replies.until_answered(sent)

    assert {code(reply) for reply in found} == {None}
    assert "deadlock detected" not in log_since(stack, len(begin))
    await stopped(world, replies)


async def test_captures_and_expiries_at_one_instant_from_two_workers_end_each_hold_once(make_world):
    """Whoever comes first ends it, the other is told so; what neither could end yet or any more, the next expiry ends.

    A capture lies in one worker's partition, the expiry of the same hold in the other's.
    """
    world = await make_world(2)
    replies = await two_workers(world)
    buyers, shop = [new_id() for _ in range(SHARED_WALLETS)], new_id()
    await replies.until_answered(await world.send(map(create_wallet, [*buyers, shop])))
    holds = [(buyers[n % SHARED_WALLETS], new_id()) for n in range(HOLDS)]
    volleys = [holds[start : start + AT_ONCE] for start in range(0, HOLDS, AT_ONCE)]
    ends = await place_holds(world, replies, volleys)

    told = []
    for volley, end in zip(volleys, ends, strict=True):
        await until_over(world.environment, end)
        told += await end_holds(world, replies, volley, shop)
    told += await replies.until_answered(await world.send(expire_hold(*hold) for hold in holds))

    assert [await worker.stop() for worker in world.workers] == [0, 0]
    books = await check(world, replies)
    assert {code(reply) for reply in told} <= {None, "HoldNotActive", "HoldExpired", "HoldNotDue"}
    accepted = [content(reply) for reply in told if code(reply) is None]
    assert {reply["hold"]["holdId"]: ENDS[reply["type"]] for reply in accepted} == {
        str(row["id"]): row["status"] for rows in books.holds.values() for row in rows
    }
    assert len(accepted) == HOLDS
    captured = sum(reply["type"] == "CaptureHold" for reply in accepted)
    print(f"{captured} captured, {HOLDS - captured} expired")  # noqa: T201 - shown where the test fails
    assert books.wallets[shop]["balance"] == 100 + captured


async def place_holds(world: World, replies: Topic, volleys: list[list[tuple[str, str]]]) -> list[datetime]:
    """Place the holds of each volley; return when the first of each ends."""
    begin = datetime.now(UTC) + PLACED_WITHIN
    ends = [begin + place * AT_ONCE * APART for place in range(len(volleys))]
    placed = [
        place_hold(*hold, expiresAt=(end + place * APART).isoformat())
        for volley, end in zip(volleys, ends, strict=True)
        for place, hold in enumerate(volley)
    ]
    found = await replies.until_answered(await world.send(placed))
    assert {code(reply) for reply in found} == {None}
    return ends


async def end_holds(world: World, replies: Topic, volley: list[tuple[str, str]], shop: str) -> list[ConsumerRecord]:
    """Let captures and expiries of the same holds loose on each other; return all replies."""
    captures = [record_of(capture_hold(*hold, toWalletId=shop), partition=0) for hold in volley]
    expiries = [record_of(expire_hold(*hold), partition=1) for hold in volley]
    both = [record for pair in zip(captures, expiries, strict=True) for record in pair]
    return await replies.until_answered(await world.send(both))


@pytest.mark.parametrize("append_records", ["--append-records", "--no-append-records"])
async def test_delayed_appends_on_shared_wallets_make_no_storm(make_world, start_kurrentdb, append_records):
    """Appends that overtake each other are tried again until it is their turn: none times out, and few are refused."""
    kurrentdb = await start_kurrentdb(append_records)
    world = await make_world(KURRENTDB_URI=kurrentdb.uri)
    wallets = [new_id() for _ in range(SHARED_WALLETS)]
    replies = await two_workers(world)
    await replies.until_answered(await world.send(map(create_wallet, wallets)))
    await kurrentdb.set_faults(append_delay_max_ms=50.0)

    transfers = [transfer(*random.sample(wallets, 2), "0.0001") for _ in range(SHARED_TRANSFERS)]
    await replies.until_answered(await world.send(transfers))

    refused = sum([await worker.metric("wallex_appends_refused_total") for worker in world.workers])
    unknown = sum([await worker.metric("wallex_appends_unknown_total") for worker in world.workers])
    assert unknown == 0
    assert refused < REFUSED_MAX
    await stopped(world, replies)


def log_since(stack, place: int) -> str:
    """What Postgres wrote into its log from that character on."""
    return Path(stack.log("postgres")).read_text(errors="replace")[place:]

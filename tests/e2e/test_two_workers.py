"""Two workers on the same wallets: they wait for each other, and never in a circle, in Postgres or in KurrentDB."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.support.commands import create_wallet, new_id, transfer
from tests.support.invariants import check
from tests.support.replies import Topic, code
from tests.support.world import World

OPPOSITE_TRANSFERS = 1_000
SHARED_WALLETS = 10
SHARED_TRANSFERS = 1_000


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


@pytest.mark.parametrize("append_records", ["--append-records", "--no-append-records"])
async def test_delayed_appends_on_shared_wallets_make_no_storm(make_world, start_kurrentdb, append_records):
    """Appends that overtake each other are tried again until it is their turn, and nobody's time out.

    The rate stays above half of the undelayed one, which is measured first.
    """
    kurrentdb = await start_kurrentdb(append_records)
    world = await make_world(KURRENTDB_URI=kurrentdb.uri)
    wallets = [new_id() for _ in range(SHARED_WALLETS)]
    replies = await two_workers(world)
    await replies.until_answered(await world.send(map(create_wallet, wallets)))
    await timed_transfers(world, replies, wallets, 100)

    undelayed_s = await timed_transfers(world, replies, wallets, SHARED_TRANSFERS)
    await kurrentdb.set_faults(append_delay_max_ms=50.0)
    delayed_s = await timed_transfers(world, replies, wallets, SHARED_TRANSFERS)

    helped = [await worker.metric("wallex_events_helped_total") for worker in world.workers]
    unknown = [await worker.metric("wallex_appends_unknown_total") for worker in world.workers]
    print(f"undelayed {undelayed_s:.2f} s, delayed {delayed_s:.2f} s")  # noqa: T201 - shown where the test fails
    assert (helped, unknown) == ([0, 0], [0, 0])
    assert delayed_s < 2 * undelayed_s
    await stopped(world, replies)


async def timed_transfers(world: World, replies: Topic, wallets: list[str], count: int) -> float:
    """Run so many transfers, and return how long it took, in seconds."""
    began = time.monotonic()
    await replies.until_answered(await world.send(transfer(*random.sample(wallets, 2), "0.0001") for _ in range(count)))
    return time.monotonic() - began


def log_since(stack, place: int) -> str:
    """What Postgres wrote into its log from that character on."""
    return Path(stack.log("postgres")).read_text(errors="replace")[place:]

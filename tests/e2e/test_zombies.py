"""A worker that froze and wakes up again, long after others have taken over its work: whatever it goes on with, it was
at some step of a batch that is no longer its own.
"""

from __future__ import annotations

import time

from tests.support.commands import Record, create_wallet, new_id, record_of, transfer
from tests.support.invariants import check
from tests.support.replies import code
from tests.support.workers import Worker, eventually
from worker.database import IDLE_IN_TRANSACTION_TIMEOUT_MS

START_S = 80.0
"""How long so many processes may take to start on a machine that is busy."""
POINTS = ("lock", "commit", "append")
WALLETS_EACH = 2
TRANSFERS_EACH = 20
UNLOCKED_S_MAX = IDLE_IN_TRANSACTION_TIMEOUT_MS / 1000 + 5
"""When Postgres ends the transaction of a client that fell silent; then whoever waits tries again."""
RESUMED_S_MAX = 30
"""Kafka finds after 15 s that a member is gone, and the others then share its partitions."""


async def test_workers_that_froze_in_the_middle_of_a_batch_and_wake_up_do_no_harm(make_world):
    """Frozen at three steps for longer than Kafka waits for them: an heir answers everything, all takes effect once.

    The wallets that one of them holds locked are free in bounded time; what they answered has its offsets refused.
    """
    world = await make_world(len(POINTS) + 1)
    replies = await world.topic(world.reply_topic)
    heir = world.start("heir")
    zombies = {point: world.start(point, WALLEX_FREEZE_POINT=point) for point in POINTS}
    await eventually(lambda: shared([heir, *zombies.values()]), "a partition for each worker", START_S)
    heirs = partition_of(heir)
    wallets = {point: [new_id() for _ in range(WALLETS_EACH)] for point in POINTS}
    opened = await world.send(
        record_of(create_wallet(id_), partition=heirs) for pair in wallets.values() for id_ in pair
    )
    await replies.until_answered(opened)

    def some_transfers(point: str) -> list[Record]:
        there = [record_of(transfer(*wallets[point], "0.01"), partition=partition_of(zombies[point]))]
        back = [record_of(transfer(*reversed(wallets[point]), "0.01"), partition=heirs)]
        return [*there, *back] * (TRANSFERS_EACH // 2)

    sent = await world.send(record for point in POINTS for record in some_transfers(point)[:1])
    await eventually(lambda: all(zombie.is_frozen for zombie in zombies.values()), "three frozen workers")
    frozen_at = time.monotonic()
    locked = await world.send([record_of(transfer(*wallets["lock"], "0.01"), partition=heirs)])
    sent += await world.send(record for point in POINTS for record in some_transfers(point))
    await replies.until_answered(locked)
    unlocked_s = time.monotonic() - frozen_at
    await replies.until_answered(sent)
    resumed_s = time.monotonic() - frozen_at
    for zombie in zombies.values():
        zombie.go_on()
    sent += await world.send(record for point in POINTS for record in some_transfers(point))
    await replies.until_answered(sent)
    await eventually(lambda: shared([heir, *zombies.values()]), "a partition for each worker again")

    print(f"unlocked after {unlocked_s:.1f} s, resumed after {resumed_s:.1f} s")  # noqa: T201 - shown where it fails
    assert {await worker.stop() for worker in world.workers} == {0}
    await check(world, replies)
    assert {code(reply) for reply in replies.records} == {None}
    assert unlocked_s < UNLOCKED_S_MAX
    assert resumed_s < RESUMED_S_MAX
    for point in ("commit", "append"):
        assert zombies[point].lines("offsets_not_committed")


def partition_of(worker: Worker) -> int:
    """The partition of a worker that has one."""
    (name,) = worker.lines("partitions_assigned")[-1]["partitions"]
    return int(name.rpartition("-")[2])


def shared(workers: list[Worker]) -> bool:
    """Whether each of the workers has one partition of its own."""
    lines = [worker.lines("partitions_assigned")[-1:] for worker in workers]
    owned = [tuple(line["partitions"]) for found in lines for line in found]
    return len(set(owned)) == len(workers) and all(len(names) == 1 for names in owned)

"""What Kafka and its other clients may do to a worker: rebalance all the time, deliver twice, in any order, to two at
once; grow under it, or lose what it has not read yet.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from tests.e2e.conftest import PARTITIONS
from tests.e2e.test_deadly_record import DEADLY_WORKER, DEATHS
from tests.support.commands import create_wallet, credit, new_id, record_of, transfer
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.replies import code, header
from tests.support.workers import POLL_S, eventually
from tests.support.world import World

WALLETS = 20
TRANSFERS = 200
REBALANCES = 3
UNREAD = 5
NOTICED_S_MAX = 20.0
"""Partitions that are added: the worker asks for them every five seconds, then the group shares them out anew."""


@asynccontextmanager
async def stranger(world: World) -> AsyncIterator[None]:
    """Be a member of the workers' group inside the block, who takes partitions and reads nothing of them."""
    consumer = AIOKafkaConsumer(
        world.command_topic,
        bootstrap_servers=world.bootstrap_servers,
        group_id=world.group,
        enable_auto_commit=False,
        partition_assignment_strategy=(StickyPartitionAssignor,),
    )
    await consumer.start()
    try:
        await eventually(consumer.assignment, "the stranger's partitions")
        yield
    finally:
        await consumer.stop()


async def test_a_storm_of_rebalances_loses_nothing_and_does_nothing_twice(world):
    """A third member comes and goes without a pause; two workers go on with what they have each time."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    # Without an instance id a worker that stops leaves the group at once.
    workers = [world.start(name, KAFKA_GROUP_INSTANCE_ID="") for name in "ab"]
    await load.open_wallets()

    async with load.running():
        for _ in range(REBALANCES):
            async with stranger(world):
                pass
            await load.more(20)

    assert [await worker.stop() for worker in workers] == [0, 0]
    await check(world, replies)
    assert sum(len(worker.lines("partitions_revoked")) for worker in workers) >= REBALANCES


async def test_records_that_come_twice_without_a_key_in_any_order_take_effect_once(world):
    """Each is judged by what the wallets are when its turn comes; the second of two gets the reply of the first."""
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(WALLETS)]
    workers = [world.start(name) for name in "ab"]
    for worker in workers:
        await worker.assigned()
    await replies.until_answered(await world.send(create_wallet(id_, "5") for id_ in wallets))
    twice = [transfer(*random.sample(wallets, 2), "1") for _ in range(TRANSFERS)] * 2
    random.shuffle(twice)

    records = [record_of(one, partition=random.randrange(PARTITIONS)) for one in twice]
    sent = await world.send(replace(record, key=None) for record in records)
    found = await replies.until_answered(sent)

    assert [await worker.stop() for worker in workers] == [0, 0]
    books = await check(world, replies)
    assert len(books.commands) == WALLETS + TRANSFERS
    assert {code(reply) for reply in found} <= {None, "InsufficientFunds"}
    assert sum(header(reply, "replayed") == b"true" for reply in found) == TRANSFERS


async def test_two_workers_that_are_given_the_same_partitions_do_everything_once(world):
    """As if each believed to be the only owner, all the time: the sender sees every reply twice, and both are equal."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    workers = [world.start("a"), world.start("b", KAFKA_GROUP_ID=f"{world.group}-other")]
    for worker in workers:
        await worker.assigned()
    await load.open_wallets()

    async with load.running():
        await load.more(1_000)
    await replies.until(lambda: all(len(replies.to(id_)) == 2 for id_ in load.sent), "every reply twice")

    assert [await worker.stop() for worker in workers] == [0, 0]
    await check(world, replies)


async def test_partitions_that_are_added_are_read_from_their_beginning(world):
    """Soon, without a restart, and with what was in them before the worker knew of them.

    By a leader that does not know that it is one: it died, and came back under its `KAFKA_GROUP_INSTANCE_ID`.
    """
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    dead = world.start("a")
    await load.open_wallets()

    async with load.running():
        await load.more()
        dead.kill()
        worker = world.start("a")
        await load.more()
        added_at = time.monotonic()
        await world.add_partition(world.command_topic)
        wallet = new_id()
        early = [record_of(one, partition=PARTITIONS) for one in (create_wallet(wallet), credit(wallet))]
        sent = await world.send(early)
        await eventually(lambda: all(map(replies.to, sent)), "replies to what is in the new partition")
        took_s = time.monotonic() - added_at
    world.partitions += 1

    assert await worker.stop() == 0
    await check(world, replies)
    assert [code(replies.to(id_)[0]) for id_ in sent] == [None, None]
    assert took_s < NOTICED_S_MAX


async def test_records_that_are_deleted_under_a_running_worker_stop_their_partition(world):
    """It reads on from where records are again, and says that some were deleted unread instead of passing over them."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    await replies.until_answered(await world.send([record_of(create_wallet(wallet), partition=0)]))

    worker.pause()
    # Its last request for more may still wait at the broker: it is answered with the first of these, not with all.
    for _ in range(UNREAD):
        await world.send([record_of(credit(wallet), partition=0)])
    await world.admin.delete_records({TopicPartition(world.command_topic, 0): RecordsToDelete(UNREAD)})
    worker.go_on()

    stopped = await worker.logged("partition_stopped")
    assert "were deleted before they were read" in stopped["why"]
    found = await replies.until_answered(await world.send([record_of(credit(wallet), partition=1)]))
    assert code(found[0]) is None
    assert await worker.stop() == 0


async def test_a_record_that_kills_its_owners_in_turn_is_answered_and_harms_no_other(world):
    """Three workers die of it, each after Kafka gave it the dead one's partition; the fourth gives the record up."""
    replies = await world.topic(world.reply_topic)
    dead_letters = await world.topic(world.dlq_topic)
    deadly = create_wallet(new_id())
    wallets = [new_id() for _ in range(PARTITIONS)]
    opening = [record_of(create_wallet(id_), partition=partition) for partition, id_ in enumerate(wallets)]
    sent = await world.send([record_of(deadly, partition=0), *opening])

    workers = [world.start(name, command=DEADLY_WORKER, WALLEX_DEADLY_COMMAND=deadly["commandId"]) for name in "abcd"]
    found = await replies.until_answered(sent)

    alive = [worker for worker in workers if worker.code is None]
    dead = [worker.code for worker in workers if worker.code is not None]
    assert dead == [-signal.SIGKILL] * DEATHS
    assert [await worker.stop() for worker in alive] == [0]
    await check(world, replies)
    assert [code(reply) for reply in found] == ["InternalError", *[None] * PARTITIONS]
    assert len(await dead_letters.until_count(1)) == 1


async def test_a_reply_that_kafka_never_takes_stops_its_partition_and_no_other(world):
    """The reply topic is compacted under a running worker: a reply without a key is refused for good.

    The page names partition, topic and cause; Kafka is not said to be lost, and what was acknowledged comes once.
    """
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(2)]
    worker = world.start("a")
    opening = [record_of(create_wallet(id_), partition=partition) for partition, id_ in enumerate(wallets)]
    await replies.until_answered(await world.send(opening))
    await set_config(world, world.reply_topic, "cleanup.policy", "compact")

    keyless = replace(record_of(credit(wallets[0]), partition=0), key=None)
    (refused,) = await world.send([keyless])
    line = await worker.logged("partition_stopped")
    after = await world.send(record_of(credit(wallets[1]), partition=1) for _ in range(10))
    await replies.until_answered(after)

    status, page = await worker.ready()
    assert (status, page["failing"]) == (503, ["partitions"])
    why = f"{world.reply_topic} does not take it: InvalidRecordError"
    assert why in line["why"]
    assert f"{world.command_topic}-0: {why}" in page["checks"]["partitions"]
    assert (await world.committed())[0] == line["offset"] == 1
    assert replies.to(refused) == []
    assert [len(replies.to(id_)) for id_ in after] == [1] * len(after)
    assert worker.lines("server_lost") == []
    assert await worker.stop() == 0


async def set_config(world: World, topic: str, name: str, value: str) -> None:
    """Change one setting of a topic, and wait until the broker says that it is changed."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
    await world.admin.alter_configs([resource])

    async def is_set() -> bool:
        (response,) = await world.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return any(entry[:2] == (name, value) for found in response.resources for entry in found[4])

    while not await is_set():  # noqa: ASYNC110 - it sends no event to wait for
        await asyncio.sleep(POLL_S)

"""Whatever stops progress is told without reading code: one log line for each change of state, pages, metrics."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devstack.server import HOST
from tests.support.command_line import wallex
from tests.support.commands import Record, create_wallet, credit, new_id, record_of
from tests.support.expiry import start_scheduler
from tests.support.foreign import locked
from tests.support.proxy import FaultProxy
from tests.support.workers import PATIENCE_S, POLL_S, Worker, eventually
from tests.support.world import World
from worker.telemetry.metrics import STAGES

DEAF_WORKER = (sys.executable, "-m", "tests.support.deaf_worker")
EXIT_FATAL = 70
ASKING = 400
OLDEST = "wallex_oldest_unanswered_command_seconds"


async def lost_and_back(process: Worker, proxy: FaultProxy) -> list[tuple[str, str]]:
    """Take the server away until it is missed, give it back until that is said; all that was said of servers."""
    proxy.reset_after(0)
    proxy.cut()
    await process.logged("server_lost")
    proxy.heal()
    await process.logged("server_back")
    return process.said_of_servers()


@pytest.mark.parametrize("server", ["postgres", "kurrentdb", "kafka"])
async def test_a_worker_without_work_says_once_that_a_server_is_lost_and_once_that_it_is_back(
    proxy_to, make_world, server
):
    """Nothing waits for the server, so nothing would notice, until the first command comes."""
    proxy, told = await proxy_to(server)
    # Whoever uses that Kafka goes through the proxy, the test as well.
    world = await make_world(**told if server == "kafka" else {})
    worker = world.start("a", **told)
    await worker.until_ready()

    said = await lost_and_back(worker, proxy)

    await worker.until_ready()
    assert await worker.stop() == 0
    assert said == [("server_lost", server), ("server_back", server)]


async def test_a_scheduler_says_once_that_redis_is_lost_and_once_that_it_is_back(world, stack):
    """It goes on without, under no lease, and stays ready; and both its leases are one server."""
    async with FaultProxy(HOST, stack.port("redis")) as proxy:
        scheduler = start_scheduler(world, REDIS_URL=f"redis://{HOST}:{proxy.port}/0")
        await eventually(lambda: len(scheduler.lines("lease_taken")) >= 1, "a lease")

        said = await lost_and_back(scheduler, proxy)

        assert (await scheduler.ready())[0] == 200
        assert await scheduler.stop() == 0
    assert said == [("server_lost", "redis"), ("server_back", "redis")]


async def test_a_worker_without_a_partition_is_not_ready_until_it_has_one(make_world):
    """More workers than partitions: one of them waits, says so, and takes over once the other one ends."""
    world = await make_world(1)
    # Without an instance id: it leaves the group as it stops.
    first = world.start("a", KAFKA_GROUP_INSTANCE_ID="")
    await first.assigned()
    second = world.start("b", KAFKA_GROUP_INSTANCE_ID="")
    await second.logged("partitions_assigned")
    await first.logged("partitions_assigned", 2)
    busy, idle = (first, second) if first.lines("partitions_assigned")[1]["partitions"] else (second, first)

    await busy.until_ready()
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await idle.ready())[1]["failing"] != ["assignment"]:
            pass
    assert answer[0] == 503
    assert await busy.stop() == 0

    await idle.until_ready()
    assert await idle.stop() == 0


async def test_the_lag_is_nothing_behind_the_markers_of_transactions(world):
    """Kafka ends each transaction with a record of its own, which nobody answers."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    await worker.assigned()
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, transactional_id=wallet)
    async with producer:
        for command in (create_wallet(wallet), credit(wallet), credit(wallet)):
            async with producer.transaction():
                await producer.send_and_wait(world.command_topic, record_of(command).value, partition=0)

    await replies.until_count(3)
    async with asyncio.timeout(PATIENCE_S):
        while await lag_of(world, worker, 0) != 0:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    assert await worker.stop() == 0


async def test_a_stopped_partition_keeps_its_lag_and_the_age_of_what_it_owes(world):
    """The record that stopped it, and what came behind it, are not answered: nothing says that all is well."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    await replies.until_answered(await world.send([record_of(create_wallet(wallet), partition=0)]))
    configs = {"cleanup.policy": "compact"}
    await world.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, world.dlq_topic, configs)])

    # Without a key, which a compacted topic refuses: it can become no dead letter.
    await world.send([Record(None, b"{", (), 0)])
    await worker.logged("partition_stopped")
    await world.send([record_of(credit(wallet), partition=0)])

    async with asyncio.timeout(PATIENCE_S):
        while await lag_of(world, worker, 0) != 2 or await worker.metric(OLDEST) < 1:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    assert await worker.stop() == 0


async def test_many_who_ask_whether_it_is_ready_hold_up_no_command(world):
    """A page that asks three servers takes their time, and connections, from the commands."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    await worker.until_ready()
    over, statuses = asyncio.Event(), Counter()

    async def ask() -> None:
        while not over.is_set():
            statuses[(await worker.page("readyz"))[0]] += 1

    asking = [asyncio.create_task(ask()) for _ in range(ASKING)]
    await replies.until_answered(await world.send([create_wallet(wallet), *[credit(wallet)] * ASKING]))
    over.set()
    await asyncio.gather(*asking)

    assert statuses[200] > 0
    assert statuses.keys() <= {200, 503}
    assert await worker.stop() == 0


async def test_a_command_that_is_stored_nowhere_is_found_by_its_reply(world):
    """What cannot be read is answered and not remembered: the reply topic has it for as long as it keeps replies."""
    replies = await world.topic(world.reply_topic)
    command = credit(new_id(), "0")
    worker = world.start("a")
    await replies.until_answered(await world.send([command]))

    asked = ("command", command["commandId"])
    shown, known, unknown = [
        await asyncio.to_thread(wallex, world.environment, *arguments)
        for arguments in (asked, (*asked, "--json"), ("command", new_id()))
    ]

    assert (shown.returncode, "InvalidAmount" in shown.stdout, unknown.returncode) == (0, True, 1)
    ((reply,),) = [found["replies"] for found in known.objects]
    assert (reply["commandId"], reply["error"]["code"]) == (command["commandId"], "InvalidAmount")
    assert await worker.stop() == 0


async def lag_of(world: World, worker: Worker, partition: int) -> float | None:
    """The worker's lag of a partition of the commands; None where it does not say."""
    _, text = await worker.page("metrics")
    name = f'wallex_partition_lag_records{{partition="{partition}",topic="{world.command_topic}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), None)


async def test_the_age_of_the_oldest_unanswered_command_counts_what_waits_for_a_wallet(world):
    """A command that somebody else's lock holds up grows old in the metric, and is forgotten once it is answered."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")
    await replies.until_answered(await world.send([create_wallet(wallet)]))

    async with locked(world, wallet):
        sent = await world.send([credit(wallet)])
        await worker.logged("commands_parked")
        async with asyncio.timeout(PATIENCE_S):
            while await worker.metric(OLDEST) < 1:
                pass
    await replies.until_answered(sent)
    async with asyncio.timeout(PATIENCE_S):
        while await worker.metric(OLDEST) > 0:
            pass

    _, text = await worker.page("metrics")
    counts = {stage: f'wallex_stage_seconds_count{{stage="{stage}"}}' for stage in STAGES}
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert [stage for stage, name in counts.items() if values[name] < 1] == []
    assert await worker.stop() == 0


async def test_a_worker_whose_consume_loop_is_dead_says_so_and_ends(world):
    """It would keep its partitions, and take nothing from them: `/livez` fails, then the process ends by itself."""
    replies = await world.topic(world.reply_topic)
    wallet, deadly = new_id(), credit(new_id())
    worker = world.start("a", command=DEAF_WORKER, WALLEX_DEADLY_COMMAND=deadly["commandId"])
    await replies.until_answered(await world.send([create_wallet(wallet)]))
    assert (await worker.page("livez"))[0] == 200

    await world.send([record_of(deadly)])

    async with asyncio.timeout(PATIENCE_S):
        while (dead := await worker.page("livez"))[0] == 200:
            pass
    assert '"failing": ["consume_loop"]' in dead[1]
    assert await worker.ended() == EXIT_FATAL
    assert "consume loop" in worker.lines("stopping")[0]["error"]

"""What no worker can go on from: it ends with exit code 70 and one line that says what to do."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.support.commands import create_wallet, credit, new_id, record_of
from tests.support.postgres import administrator
from tests.support.replies import code
from tests.support.workers import Worker
from tests.support.world import World

EXIT_FATAL = 70


async def stopping(world: World) -> str:
    """Start a worker that cannot go on; return the one line that it says on stderr besides its log."""
    worker = world.start("a")
    assert await worker.ended() == EXIT_FATAL
    (line,) = [line for line in worker.log.read_text().splitlines() if line.startswith("wallex worker: ")]
    return line


async def stopped_partition(world: World) -> tuple[Worker, str]:
    """Start a worker that stops partition 0 and answers on the others; return it, and why it stopped."""
    replies = await world.topic(world.reply_topic)
    # Under no name of its own: such a member leaves its group when it ends, so that offsets can be set.
    worker = world.start("a", KAFKA_GROUP_INSTANCE_ID="")
    line = await worker.logged("partition_stopped")
    await replies.until_answered(await world.send([record_of(create_wallet(new_id()), partition=1)]))
    status, ready = await worker.ready()
    assert (status, line["why"] in str(ready)) == (503, True)
    return worker, line["why"]


async def test_a_committed_offset_whose_records_were_deleted_stops_its_partition(world):
    """Commands were deleted unread: going on from the next one would lose them silently."""
    wallet = new_id()
    await world.send([record_of(create_wallet(wallet), partition=0), record_of(credit(wallet), partition=0)])
    await world.commit({0: 1})
    await world.send([record_of(credit(wallet), partition=0)])
    await world.admin.delete_records({TopicPartition(world.command_topic, 0): RecordsToDelete(2)})

    worker, why = await stopped_partition(world)

    assert why == "its records 1 to 1 were deleted before they were read"
    assert await worker.stop() == 0


async def test_a_command_topic_that_was_made_anew_stops_its_partition_until_the_offset_is_set(world):
    """The committed offset lies behind the end of the topic. The log grows past it meanwhile: it stays another log."""
    wallet = new_id()
    sent = await world.send([record_of(create_wallet(wallet), partition=0), record_of(credit(wallet), partition=0)])
    await world.commit({0: 3})
    worker, why = await stopped_partition(world)
    assert why == "its log was replaced: it ends at 2, and 3 was committed"

    sent += await world.send([record_of(credit(wallet), partition=0) for _ in range(3)])
    assert await worker.stop() == 0
    worker, again = await stopped_partition(world)
    assert again == why
    assert await worker.stop() == 0

    await world.commit({0: 0})
    world.start("a")
    replies = await world.topic(world.reply_topic)
    assert {code(reply) for reply in await replies.until_answered(sent)} == {None}


@pytest.mark.parametrize("variable", ["REPLY_TOPIC", "DLQ_TOPIC"])
async def test_a_compacted_topic_of_the_workers_own_stops_the_worker(world, variable):
    """Replies and dead letters would vanish unread, and those without a key would not be taken."""
    compacted = f"{world.reply_topic}.compacted" if variable == "REPLY_TOPIC" else f"{world.dlq_topic}.compacted"
    await world.create_topic(compacted, **{"cleanup.policy": "compact"})
    world.environment[variable] = compacted

    line = await stopping(world)

    assert f"{compacted} has cleanup.policy=compact" in line


async def test_a_compacted_command_topic_stops_the_worker(world):
    """Compaction would drop commands that nobody has read."""
    await world.create_topic(f"{world.command_topic}.compacted", **{"cleanup.policy": "compact"})
    world.environment["COMMAND_TOPICS"] += f",{world.command_topic}.compacted"

    line = await stopping(world)

    assert "cleanup.policy=compact" in line


async def test_a_topic_that_takes_less_than_is_sent_there_stops_the_worker(world):
    """A dead letter that is cut to fit cannot be replayed; a reply that does not fit stops its partition."""
    narrow = f"{world.dlq_topic}.narrow"
    await world.create_topic(narrow, **{"max.message.bytes": "100000"})
    world.environment["DLQ_TOPIC"] = narrow

    line = await stopping(world)

    assert f"{narrow} has max.message.bytes=100000" in line and "DLQ_TOPIC" in line


async def test_production_refuses_topics_that_one_broker_can_lose(world):
    """There is one broker here, so each topic has one copy; nor does a worker make such topics there itself."""
    world.environment["ENVIRONMENT"] = "production"
    refused = await stopping(world)

    missing = f"{world.dlq_topic}.missing"
    world.environment["DLQ_TOPIC"] = missing
    not_made = await stopping(world)

    assert f"{world.command_topic} has one copy" in refused and "ENVIRONMENT=production" in refused
    assert missing in not_made and "KAFKA_REPLICATION_FACTOR" in not_made
    assert missing not in await world.admin.list_topics()


async def test_the_workers_own_topics_keep_dead_letters_and_say_what_they_lack(world):
    """Made where they are missing. One line says what one broker cannot give, and that commands have one partition."""
    commands, letters = f"{world.command_topic}.one", f"{world.dlq_topic}.made"
    await world.admin.create_topics([NewTopic(commands, 1, 1)])
    world.environment |= {"DLQ_TOPIC": letters, "COMMAND_TOPICS": commands}

    worker = world.start("a")
    await worker.assigned()

    (line,) = worker.lines("topics_not_as_expected")
    assert f"the topic {commands} has one partition" in str(line["problems"])
    assert f"the topic {letters} has one copy" in str(line["problems"])
    (answer,) = await world.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, letters)])
    assert {entry[0]: entry[1] for entry in answer.resources[0][4]}["retention.ms"] == "-1"
    assert worker.said_of_servers() == []
    assert await worker.stop() == 0


WRONG_ADDRESSES = {
    "database": (lambda told: {"DB_NAME": "nowhere"}, ('database "nowhere" does not exist', "DB_NAME")),
    "Postgres without TLS": (lambda told: {"DB_SSL": "true"}, ("rejected SSL upgrade", "DB_SSL")),
    "KurrentDB without TLS": (
        lambda told: {"KURRENTDB_URI": told["KURRENTDB_URI"].replace("://", "://u:p@").replace("=false", "=true")},
        ("WRONG_VERSION_NUMBER", "KURRENTDB_URI"),
    ),
}


@pytest.mark.parametrize(("told", "said"), WRONG_ADDRESSES.values(), ids=WRONG_ADDRESSES)
async def test_what_waiting_does_not_mend_stops_the_worker(world, told, said):
    """The servers answer, and say that they do not have what is asked for: a process's settings do not change."""
    world.environment |= told(world.environment)

    line = await stopping(world)

    assert all(part in line for part in said), line


async def test_a_role_that_may_not_connect_stops_the_worker(world):
    """What its own role lacks is said to the connection, and does not pass either."""
    role, database = f"role_{new_id()[:8]}", world.environment["DB_NAME"]
    async with administrator(world.environment) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        await admin.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    world.environment |= {"DB_USERNAME": role, "DB_PASSWORD": "secret"}

    line = await stopping(world)

    async with administrator(world.environment | {"DB_USERNAME": "postgres", "DB_PASSWORD": "postgres"}) as admin:
        await admin.execute(f"DROP ROLE {role}")
    assert "permission denied for database" in line and "DB_USERNAME" in line

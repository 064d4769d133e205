"""What no worker can go on from: it ends with exit code 70 and one line that says what to do."""

from __future__ import annotations

from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.support.commands import create_wallet, credit, new_id, record_of
from tests.support.world import World

EXIT_FATAL = 70


async def stopping(world: World) -> str:
    """Start a worker that cannot go on; return the one line that it says on stderr besides its log."""
    worker = world.start("a")
    assert await worker.ended() == EXIT_FATAL
    (line,) = [line for line in worker.log.read_text().splitlines() if line.startswith("wallex worker: ")]
    return line


async def test_a_committed_offset_whose_records_were_deleted_stops_the_worker(world):
    """Commands were deleted unread: going on from the next one would lose them silently."""
    wallet = new_id()
    await world.send([record_of(create_wallet(wallet), partition=0), record_of(credit(wallet), partition=0)])
    await world.commit({0: 1})
    await world.send([record_of(credit(wallet), partition=0)])
    await world.admin.delete_records({TopicPartition(world.command_topic, 0): RecordsToDelete(2)})

    line = await stopping(world)

    assert f"{world.command_topic}-0" in line
    assert "no longer exists" in line


async def test_a_command_topic_that_was_made_anew_stops_the_worker(world):
    """The committed offset lies behind the end of the topic: it belongs to another one of that name."""
    wallet = new_id()
    await world.send([record_of(create_wallet(wallet), partition=0), record_of(credit(wallet), partition=0)])
    await world.commit({0: 50})

    line = await stopping(world)

    assert "no longer exists" in line


async def test_a_compacted_command_topic_stops_the_worker(world):
    """Compaction would drop commands that nobody has read."""
    await world.create_topic(f"{world.command_topic}.compacted", **{"cleanup.policy": "compact"})
    world.environment["COMMAND_TOPICS"] += f",{world.command_topic}.compacted"

    line = await stopping(world)

    assert "cleanup.policy=compact" in line

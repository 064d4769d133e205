"""Random commands through two workers, one of which dies again and again: what came out must be what a model says.

WALLEX_E2E_COMMANDS and WALLEX_E2E_WALLETS give the size of a run (20,000 and 1,000 for a whole one), WALLEX_E2E_KILLS
how often a worker dies. By default it is a small one.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.support.answers import Answers
from tests.support.documents import projecting
from tests.support.explain import Outcome, explain
from tests.support.invariants import Books, check, check_committed, fail_with
from tests.support.replies import Topic
from tests.support.runs import first_runs, stored_run
from tests.support.story import Planned, Story
from tests.support.world import World

COMMANDS = int(os.environ.get("WALLEX_E2E_COMMANDS", "1500"))
WALLETS = int(os.environ.get("WALLEX_E2E_WALLETS", "100"))
KILLS = int(os.environ.get("WALLEX_E2E_KILLS", "3"))
PARTITIONS = 12

pytestmark = pytest.mark.timeout(120 + COMMANDS // 20)


@pytest.fixture
def story() -> Story:
    """A story that is another one in each run, and the same for the same seed."""
    seed = int(os.environ.get("WALLEX_E2E_SEED", random.SystemRandom().randrange(10**6)))
    print(f"WALLEX_E2E_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    return Story(seed, WALLETS, COMMANDS)


async def test_documents_rows_streams_and_replies_agree_though_workers_die(make_world, start_kurrentdb, story):
    """Killed and started again, two workers do what one that never died would have done, and it can be searched."""
    kurrentdb = await start_kurrentdb()
    world = await make_world(PARTITIONS, KURRENTDB_URI=kurrentdb.uri)

    async with projecting(world) as documents:
        books = await run_and_check(world, story)
        await documents.check(books)


async def test_a_server_without_append_records_comes_to_the_same(make_world, start_kurrentdb, story):
    """Stream by stream, as servers before 26.1 have it, every event is there once all the same."""
    kurrentdb = await start_kurrentdb("--no-append-records")
    world = await make_world(PARTITIONS, KURRENTDB_URI=kurrentdb.uri)

    await run_and_check(world, story)

    assert any(worker.lines("append_records_missing") for worker in world.workers)


async def test_appends_that_time_out_after_writing_come_to_the_same(make_world, start_kurrentdb, story):
    """A time-out says nothing: what was written is not written twice, and what is repeated is not refused for ever."""
    kurrentdb = await start_kurrentdb("--timeout-after-write-every", "50", "--timeout-ms", "500")
    world = await make_world(PARTITIONS, KURRENTDB_URI=kurrentdb.uri)

    await run_and_check(world, story)


async def run_and_check(world: World, story: Story) -> Books:
    """Send the story, kill workers on the way, and hold everything that came of it against everything that must be."""
    replies = await world.topic(world.reply_topic)
    planned = await run(world, story, replies)
    assert [await worker.stop() for worker in world.workers if worker.code is None] == [0, 0]
    books = await check(world, replies)
    commands = await (await world.topic(world.command_topic)).to_end()
    assert await world.committed() == {
        partition: max(record.offset for record in commands if record.partition == partition) + 1
        for partition in {record.partition for record in commands}
    }
    codes = {id_: plan.code for id_, plan in planned.items()}
    stored = {id_: stored_run(rows[0]) for id_, rows in books.commands.items()}
    model = explain(first_runs(commands, Answers(replies.records), codes, stored))
    fail_with(Outcome(books.accounts()).violations(model))
    return books


async def run(world: World, story: Story, replies: Topic) -> dict[bytes, Planned]:
    """Send the story in waves; with each a worker dies once replies flow. Return what was planned for each record."""
    workers = {name: world.start(name) for name in "ab"}
    for worker in workers.values():
        await worker.assigned()
    planned = await send(world, story.beginning)
    await replies.until_answered(planned)
    length = -(-len(story.commands) // (KILLS + 1))
    for wave in range(KILLS + 1):
        part = story.commands[wave * length : (wave + 1) * length]
        planned |= await send(world, part)
        if wave < KILLS:
            await replies.until_count(len(replies.records) + len(part) // 10)
            name = "ab"[wave % 2]
            workers[name].kill()
            await check_unanswered_are_uncommitted(world, replies)
            workers[name] = world.start(name)
    await replies.until_answered(planned)
    return planned


async def send(world: World, part: list[Planned]) -> dict[bytes, Planned]:
    """Publish a part of the story; return it by correlation id."""
    return dict(zip(await world.send([one.record for one in part]), part, strict=True))


async def check_unanswered_are_uncommitted(world: World, replies: Topic) -> None:
    """A committed offset says that everything before it is answered, at any moment."""
    committed = await world.committed()
    await replies.to_end()
    check_committed(await (await world.topic(world.command_topic)).to_end(), replies, committed)

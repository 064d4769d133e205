"""Workers that come and go in good order, while commands keep coming: nothing is lost and nothing runs twice."""

from __future__ import annotations

from tests.support.invariants import check
from tests.support.load import AT_ONCE, Load
from tests.support.replies import header

STOPS = 3
EXIT_S = 15.0


async def test_a_worker_that_is_asked_to_stop_finishes_what_it_began(world):
    """Exit code 0 in time, each time; no command is lost, and none is answered twice."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()

    codes = []
    async with load.running():
        for _ in range(STOPS):
            await load.more()
            codes.append(await worker.stop(EXIT_S))
            worker = world.start("a")
        await load.more()

    assert codes == [0] * STOPS
    assert await worker.stop(EXIT_S) == 0
    await check(world, replies)
    assert [header(reply, "replayed") for reply in replies.records if header(reply, "replayed")] == []


async def test_a_worker_that_joins_and_leaves_hands_over_without_a_gap(world):
    """Partitions move to it and back again, with nothing lost and nothing done twice."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    # Without an instance id a worker that stops leaves the group at once, and its partitions move.
    first = world.start("a", KAFKA_GROUP_INSTANCE_ID="")
    await load.open_wallets()

    async with load.running():
        other = world.start("b", KAFKA_GROUP_INSTANCE_ID="")
        await other.assigned()
        await load.more()
        assert await other.stop(EXIT_S) == 0
        await load.more()

    assert await first.stop(EXIT_S) == 0
    await check(world, replies)
    assert len(replies.records) - len(load.sent) <= AT_ONCE

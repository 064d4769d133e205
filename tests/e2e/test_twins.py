"""Two workers under one `KAFKA_GROUP_INSTANCE_ID`: one of them ends and says why, and no healthy command suffers."""

from __future__ import annotations

from tests.support.commands import create_wallet, credit, new_id, record_of
from tests.support.foreign import locked
from tests.support.invariants import check
from tests.support.replies import code
from tests.support.workers import eventually

EXIT_FATAL = 70
ROUNDS = 4


async def test_twins_end_one_after_the_other_and_no_healthy_command_is_given_up(world):
    """Each take-over finds the first record of a partition marked by a process that has not died of it."""
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(world.partitions)]
    running = world.start("a")
    opened = [record_of(create_wallet(wallet), partition=place) for place, wallet in enumerate(wallets)]
    await replies.until_answered(await world.send(opened))

    async with locked(world, wallets[0]):
        sent = await world.send(
            [record_of(credit(wallet), partition=place) for place, wallet in enumerate(wallets) for _ in range(2)]
        )
        for _ in range(ROUNDS):
            twin = world.start("a")
            await eventually(lambda: running.code or twin.code, "the end of one of the two")  # noqa: B023 - awaited here
            ended, running = (running, twin) if running.code is not None else (twin, running)
            assert ended.code == EXIT_FATAL
            assert "another process runs under KAFKA_GROUP_INSTANCE_ID" in ended.log.read_text().splitlines()[-1]
            await running.assigned()
    found = await replies.until_answered(sent)

    assert {code(reply) for reply in found} == {None}
    assert await running.stop() == 0
    await check(world, replies)

"""A record that kills whoever reads it must not kill one owner after another for ever."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from tests.support.commands import Command, create_wallet, credit, new_id, record_of
from tests.support.invariants import check
from tests.support.replies import code, content, header
from tests.support.workers import POLL_S
from tests.support.world import World

DEADLY_WORKER = (sys.executable, "-m", "tests.support.deadly_worker")
DEATHS = 3
BEFORE = 6
DEATHS_IN_BATCHES_MAX = 2
"""Behind six records: it dies in the batch of the fifth to the eighth, then in the one of the second and third."""


async def answer_to(world: World, deadly: Command, before: Sequence[Command], behind: Sequence[Command]):
    """Start workers until everything is answered; the replies in order, the dead letters, and how many workers died."""
    replies = await world.topic(world.reply_topic)
    dead_letters = await world.topic(world.dlq_topic)
    sent = await world.send(record_of(command, partition=0) for command in (*before, deadly, *behind))
    deaths = 0
    while not replies.to(sent[len(before)]):
        worker = world.start("a", command=DEADLY_WORKER, WALLEX_DEADLY_COMMAND=deadly["commandId"])
        while worker.code is None and not replies.to(sent[len(before)]):
            await replies.to_end()
            await asyncio.sleep(POLL_S)
        assert worker.code in (None, -signal.SIGKILL)
        deaths += worker.code is not None
    found = await replies.until_answered(sent)
    assert await worker.stop() == 0
    await check(world, replies)
    return found, await dead_letters.until_count(1), deaths


async def test_a_record_that_kills_the_process_is_given_up_after_three_deaths(world):
    """It gets InternalError and a dead letter, unread; the commands behind it run as if it were not there."""
    wallet = new_id()
    deadly = create_wallet(wallet)

    found, (letter,), deaths = await answer_to(world, deadly, [], [create_wallet(wallet, "5"), credit(wallet)])

    assert deaths == DEATHS
    assert [code(reply) for reply in found] == ["InternalError", None, None]
    assert content(found[2])["wallets"][0]["balance"] == "6.0000"
    assert json.loads(letter.value) == deadly
    assert (header(letter, "dlq_error_code"), header(letter, "dlq_attempt")) == (b"InternalError", b"1")


async def test_a_deadly_record_among_others_is_found_and_the_others_run(world):
    """It dies with a batch, so nobody knows which of its records it was: each death brings it closer to being alone."""
    wallet = new_id()
    before = [create_wallet(wallet), *(credit(wallet) for _ in range(BEFORE - 1))]

    found, letters, deaths = await answer_to(world, credit(wallet), before, [credit(wallet)])

    assert deaths <= DEATHS + DEATHS_IN_BATCHES_MAX
    assert len(letters) == 1
    assert [code(reply) for reply in found] == [None] * BEFORE + ["InternalError", None]
    assert content(found[-1])["wallets"][0]["version"] == BEFORE

"""The process dies right after a step, as in a power cut; the next one finishes what it began, once.

What the sender sees of it is a reply in any case, and at most the same one again.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord

from tests.support.commands import create_wallet, new_id, transfer
from tests.support.invariants import check
from tests.support.replies import header
from tests.support.world import World

TRANSFERS = 20


async def crash_and_recover(world: World, point: str) -> list[list[bool]]:
    """Let a worker die at `point` and another one finish; for each transfer, which of its replies were replayed ones.

    The first record of each partition runs alone after a start, so it is a transfer that the crash hits. No two
    transfers share a wallet: what is not mended for its own sake, no later command mends by the way.
    """
    replies = await world.topic(world.reply_topic)
    pairs = [(new_id(), new_id()) for _ in range(TRANSFERS)]
    opening = world.start("a")
    await replies.until_answered(await world.send(create_wallet(id_) for pair in pairs for id_ in pair))
    assert await opening.stop() == 0
    crashing = world.start("a", WALLEX_CRASH_POINT=point)
    sent = await world.send(transfer(*pair) for pair in pairs)
    assert await crashing.ended() == -signal.SIGKILL

    recovering = world.start("a")
    await replies.until_answered(sent)
    assert await recovering.stop() == 0

    await check(world, replies)
    return [replayed(replies.to(id_)) for id_ in sent]


def replayed(answers: Sequence[ConsumerRecord]) -> list[bool]:
    """Which of the replies to a record say that it had run before."""
    return [header(answer, "replayed") == b"true" for answer in answers]


@pytest.mark.parametrize("point", ["lock", "persist"])
async def test_what_was_not_committed_runs_anew(world, point):
    """Killed before the commit, nothing has happened: every command is answered once, as for the first time."""
    answers = await crash_and_recover(world, point)

    assert answers == [[False]] * TRANSFERS


async def test_what_was_committed_is_answered_from_the_store(world):
    """Killed after the commit, the command has run: the next one appends its events and sends its stored reply."""
    answers = await crash_and_recover(world, "commit")

    assert sorted(answers) == [[False]] * (TRANSFERS - 1) + [[True]]


async def test_what_was_appended_is_not_appended_again(world):
    """Killed after the append, the events are there once, and nobody was answered before."""
    answers = await crash_and_recover(world, "append")

    assert [True] in answers
    assert {len(replays) for replays in answers} == {1}


async def test_what_was_answered_is_answered_once_more_alike(world):
    """Killed after the reply and before the offset, the sender gets the same reply twice; the second says so."""
    answers = await crash_and_recover(world, "reply")

    assert [False, True] in answers


async def test_what_was_finished_is_not_touched_again(world):
    """Killed after the offset's commit, the record does not come back."""
    answers = await crash_and_recover(world, "offset_commit")

    assert [False] in answers
    assert all(replays in ([False], [True], [False, True]) for replays in answers)

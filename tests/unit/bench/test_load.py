"""The load's accounting: exactly one accepted reply for each record that was published."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import pytest

from bench.commands import new_ids, transfers, twice
from bench.load import LoadError, Waiting, together

COMMANDS = transfers(3, new_ids(10, random.Random(1)), random.Random(1))


def reply(command, status=b"accepted"):
    """A reply record, of which only the headers are looked at."""
    return SimpleNamespace(headers=[("command_id", command.id), ("status", status)])


def test_a_load_is_over_when_each_command_has_its_reply():
    """In whatever order they come."""
    waiting = Waiting(COMMANDS)

    answered = [waiting.account_for(reply(command)) for command in reversed(COMMANDS)]

    assert answered == [command.id for command in reversed(COMMANDS)]
    assert not waiting


def test_a_command_that_is_sent_twice_waits_for_two_replies():
    """Each delivered record has its own."""
    waiting = Waiting(twice(COMMANDS))

    for command in COMMANDS:
        waiting.account_for(reply(command))

    assert len(waiting) == len(COMMANDS)
    for command in COMMANDS:
        waiting.account_for(reply(command))
    assert not waiting


def test_one_reply_too_many_ends_the_measurement():
    """A second effect would have gone unseen otherwise."""
    waiting = Waiting(COMMANDS)
    waiting.account_for(reply(COMMANDS[0]))

    with pytest.raises(LoadError, match="was answered accepted"):
        waiting.account_for(reply(COMMANDS[0]))


def test_a_rejection_ends_the_measurement():
    """It costs less than what is to be measured."""
    waiting = Waiting(COMMANDS)

    with pytest.raises(LoadError, match="was answered rejected"):
        waiting.account_for(reply(COMMANDS[0], b"rejected"))


async def test_the_first_error_of_a_load_is_raised_as_itself():
    """And nothing of the load goes on behind it."""
    stopped = asyncio.Event()

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def fail():
        raise LoadError("no reply")

    with pytest.raises(LoadError, match="no reply"):
        await together(wait(), fail())
    assert stopped.is_set()

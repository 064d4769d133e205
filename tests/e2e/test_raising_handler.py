"""A command whose handling raises, each time that it comes: it alone is answered with InternalError, and is kept."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal

from tests.support.commands import Command, Record, create_wallet, credit, new_id, record_of
from tests.support.invariants import check
from tests.support.replies import code, content, header
from tests.support.workers import Worker
from tests.support.world import World

RAISING_WORKER = (sys.executable, "-m", "tests.support.raising_worker")
GOOD = 5


async def test_commands_whose_handling_raises_are_answered_and_kept_and_the_others_run(world):
    """Before, between and behind them, on the same wallet; and once more when all records are delivered again."""
    wallet = new_id()
    before, between, behind = ([credit(wallet) for _ in range(GOOD)] for _ in range(3))
    undecidable, unreadable = credit(wallet, "1000"), credit(wallet, "1000")
    replies, letters = await world.topic(world.reply_topic), await world.topic(world.dlq_topic)
    ids = await world.send(in_order([create_wallet(wallet), *before, undecidable, *between, unreadable, *behind]))
    key, records = wallet.encode(), len(ids)

    workers = [start(world, undecidable, unreadable)]
    await replies.until_count(records)
    assert await workers[0].stop() == 0
    await world.commit({0: 0})
    workers.append(start(world, undecidable, unreadable))
    await replies.until_count(2 * records)
    assert await workers[1].stop() == 0

    undecided, unread = ids[1 + GOOD], ids[2 + 2 * GOOD]
    assert {id_: code(replies.to(id_)[0]) for id_ in ids} == dict.fromkeys(ids) | dict.fromkeys(
        [undecided, unread], "InternalError"
    )
    for command_id, (reply, again) in ((undecidable["commandId"], replies.to(undecided)), (None, replies.to(unread))):
        assert (content(reply)["commandId"], code(reply), reply.key) == (command_id, "InternalError", key)
        assert again.value == reply.value
    kept = [(letter.key, letter.value, header(letter, "dlq_error_code")) for letter in await letters.to_end()]
    assert kept == [(key, record_of(one).value, b"InternalError") for one in (undecidable, unreadable)] * 2
    books = await check(world, replies)
    assert books.wallets[wallet]["balance"] == Decimal(100 + 3 * GOOD)
    # It failed once, among others; what comes again is answered from its row. What is not read has none.
    assert workers[0].lines("batch_bisected")
    assert [named(worker.lines("command_failed"), "command_id") for worker in workers] == [
        [undecidable["commandId"]],
        [],
    ]
    assert [named(worker.lines("record_not_decoded"), "offset") for worker in workers] == [[2 + 2 * GOOD]] * 2


def in_order(commands: Sequence[Command]) -> list[Record]:
    """Their records, all in one partition."""
    return [record_of(command, partition=0) for command in commands]


def named(lines: Sequence[Mapping[str, object]], field: str) -> list[object]:
    """What log lines name as `field`."""
    return [line[field] for line in lines]


def start(world: World, undecidable: Command, unreadable: Command) -> Worker:
    """A worker that does not get over these two; without an instance id, so that it leaves the group as it stops."""
    ids = {"UNDECIDABLE": undecidable["commandId"], "UNREADABLE": unreadable["commandId"]}
    told = {f"WALLEX_{name}_COMMAND": id_ for name, id_ in ids.items()}
    return world.start("a", command=RAISING_WORKER, KAFKA_GROUP_INSTANCE_ID="", **told)

"""Commands that failed unexpectedly, on a real Postgres: stored, repeated, and run again only by a replay."""

from __future__ import annotations

import json

from tests.support.commands import Command, create_wallet, credit, debit, new_id
from tests.support.ledger import balances, codes, recorded, run
from tests.support.received import received
from worker.ledger.batch import record_failure
from worker.ledger.decide_batch import Failed, Received


def failed(command: Command, attempt: int = 1) -> Failed:
    known = received(command)
    return Failed(command["commandId"], known.command, known.fingerprint, attempt, known.received_at)


def replayed_as(command: Command, attempt: int) -> Received:
    return received(command, [("dlq_attempt", str(attempt).encode())])


async def test_a_failure_is_stored_and_repeated(engine):
    """InternalError means that nothing took effect, however often the command comes again."""
    a = new_id()
    await run(engine, create_wallet(a))
    command = credit(a)

    told = await record_failure(engine, failed(command))
    (again,) = await run(engine, command)

    assert codes([told, again]) == ["InternalError"] * 2
    assert again.reply == told.reply
    assert again.replayed
    assert (await balances(engine))[a][1] == 0


async def test_a_failure_never_overwrites_what_ran(engine):
    """The outcome that stands is told, with the events that it made."""
    a = new_id()
    paid, refused = credit(a), debit(a, "500")
    _, first, second = await run(engine, create_wallet(a), paid, refused)

    told = [await record_failure(engine, failed(command)) for command in (paid, refused)]

    assert [outcome.reply for outcome in told] == [first.reply, second.reply]
    assert [outcome.made for outcome in told] == [((a, 1),), ()]
    assert all(outcome.replayed and outcome.recorded is None for outcome in told)
    assert await recorded(engine, paid["commandId"]) == [(1, None)]


async def test_a_failure_under_the_id_of_another_command_is_told_no_outcome_of_that_one(engine):
    """The other one ran between this one's attempts; whose payload was never read may be that one."""
    a = new_id()
    other = credit(a)
    _, first = await run(engine, create_wallet(a), other)
    mine = debit(a) | {"commandId": other["commandId"]}

    told = await record_failure(engine, failed(mine))
    unread = await record_failure(engine, failed(mine)._replace(command=None, fingerprint=b""))

    assert codes([told, unread]) == ["IdempotencyConflict", "accepted"]
    assert unread.reply == first.reply
    assert await recorded(engine, other["commandId"]) == [(1, None)]


async def test_only_the_next_attempt_runs_a_failed_command_again(engine):
    """`wallex dlq replay` counts the attempts; any other number repeats the stored reply."""
    a = new_id()
    await run(engine, create_wallet(a))
    command = credit(a)
    await record_failure(engine, failed(command))

    outcomes = [(await run(engine, replayed_as(command, attempt)))[0] for attempt in (1, 3, 2, 2, 3, 1)]

    assert codes(outcomes) == ["InternalError"] * 2 + ["accepted"] * 4
    assert [outcome.replayed for outcome in outcomes] == [True, True, False, True, True, True]
    assert await recorded(engine, command["commandId"]) == [(1, "InternalError"), (2, None)]
    assert (await balances(engine))[a][1] == 1


async def test_a_command_may_fail_again(engine):
    """Each attempt has its own row; the last one counts."""
    command = credit(new_id())
    first = await record_failure(engine, failed(command))
    second = await record_failure(engine, failed(command, attempt=2))

    (told,) = await run(engine, replayed_as(command, 3))

    assert not first.replayed
    assert not second.replayed
    assert codes([told]) == ["WalletNotFound"]
    assert [attempt for attempt, _ in await recorded(engine, command["commandId"])] == [1, 2, 3]


async def test_no_attempt_runs_a_command_again_that_did_not_fail(engine):
    """Accepted or rejected, `dlq_attempt` changes nothing."""
    a = new_id()
    commands = [create_wallet(a), debit(a, "500")]
    first = await run(engine, *commands)

    again = await run(engine, *(replayed_as(command, 2) for command in commands))

    assert [outcome.reply for outcome in again] == [outcome.reply for outcome in first]
    assert all(outcome.replayed for outcome in again)


async def test_a_command_that_was_given_up_unread_stands_for_every_payload(engine):
    """What it meant is not known: its id is answered with the failure until it is replayed."""
    a = new_id()
    await run(engine, create_wallet(a))
    command = credit(a)
    unread = Failed(command["commandId"], None, b"", 1, received(command).received_at)

    told = await record_failure(engine, unread)
    again = await run(engine, command, {**command, "amount": "2"})
    (replay,) = await run(engine, replayed_as(command, 2))

    assert json.loads(told.reply)["type"] is None
    assert [outcome.reply for outcome in again] == [told.reply] * 2
    assert codes([replay]) == ["accepted"]

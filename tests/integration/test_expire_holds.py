"""Holds that are due, on a real Postgres: claimed a page at a time, by one, with a fresh id for each attempt."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.commands import create_wallet, credit, expire_hold, new_id, place_hold, release_hold
from tests.support.ledger import codes, engine_of, foreign_transaction, run, states
from tests.support.received import command_record, received
from tests.support.workers import eventually
from worker.contracts.commands import COMMAND
from worker.contracts.envelope import ReplyTopics
from worker.database import raw_connection
from worker.errors import Fatal
from worker.kafka import connection_arguments
from worker.outbox.publish import Message, Publisher
from worker.scheduler import expire_holds
from worker.scheduler.due_holds import DueHold, claim_due_holds, expiry_id, read_lag_s
from worker.scheduler.expire_holds import HoldExpiry, expire_command
from worker.settings import Settings
from worker.telemetry.metrics import WorkerMetrics, new_registry

NARROWER = ReplyTopics("wallet.replies", re.compile(r"wallet\.replies\.shop"))
"""Fewer reply topics are allowed than when the holds were placed."""
FAR = "2999-12-31T00:00:00Z"
REFUSED_S_MAX = 30.0

# Placed in time, and the time is over now: what waiting does, without the waiting.
MAKE_DUE = "UPDATE holds SET expires_at = clock_timestamp() - make_interval(secs => $2) WHERE id = $1::uuid"


MAKE_PUBLISHED = """
UPDATE holds SET expiry_attempts = 1, expiry_published_at = clock_timestamp() - make_interval(secs => $3),
                 expires_at = clock_timestamp() - make_interval(secs => $3 + $2)
WHERE id = $1::uuid
"""
AT_ONCE = {"republish_s": 0.0, "republish_s_max": 0.0}


async def make_due(engine: AsyncEngine, hold_id: str, since_s: float = 1.0) -> None:
    async with raw_connection(engine) as connection:
        await connection.execute(MAKE_DUE, hold_id, since_s)


async def due_holds(engine: AsyncEngine, count: int) -> list[str]:
    """Place so many holds in one wallet, and make them due, the first one for longest."""
    wallet, holds = new_id(), [new_id() for _ in range(count)]
    placed = await run(engine, create_wallet(wallet), *(place_hold(wallet, id_, expiresAt=FAR) for id_ in holds))
    assert set(codes(placed)) == {"accepted"}
    for index, hold_id in enumerate(holds):
        await make_due(engine, hold_id, 100 - index)
    return holds


def expiry(hold: DueHold) -> dict[str, str]:
    """The command that is published for it."""
    command = json.loads(expire_command(hold, "commands", NARROWER).value)
    assert isinstance(command, dict)
    return command


async def test_due_holds_come_in_pages_longest_waiting_first_and_then_not_for_a_while(engine):
    """Each hold is in one page; none comes again until `republish_s` have passed, then under the same id: the first
    command may still be on its way.
    """
    holds = await due_holds(engine, 5)

    pages = [await claim_due_holds(engine, page_holds=2) for _ in range(4)]
    again = await claim_due_holds(engine, **AT_ONCE)

    assert [[hold.id for hold in page] for page in pages] == [holds[:2], holds[2:4], holds[4:], []]
    assert {hold.attempt for page in pages for hold in page} == {1}
    assert [(hold.id, hold.attempt) for hold in again] == [(id_, 1) for id_ in holds]


async def test_an_expiry_that_is_not_answered_waits_twice_as_long_each_time_and_no_more_than_an_hour(engine):
    """By how long the hold had been due when it was published: a minute at least, an hour at most."""
    wallet = new_id()
    waits = {new_id(): wait for wait in ((30, 59), (30, 61), (300, 299), (300, 301), (90_000, 3_599), (90_000, 3_601))}
    holds = [place_hold(wallet, id_, expiresAt=FAR) for id_ in waits]
    await run(engine, create_wallet(wallet), *holds)
    for id_, (due_for_s, ago_s) in waits.items():
        async with raw_connection(engine) as connection:
            await connection.execute(MAKE_PUBLISHED, id_, float(due_for_s), float(ago_s))

    claimed = {hold.id for hold in await claim_due_holds(engine)}

    assert sorted(waits[id_] for id_ in claimed) == [(30, 61), (300, 301), (90_000, 3_601)]


async def test_while_commands_are_parked_nothing_is_published_again(engine):
    """What was published may be among them; what never was is published all the same."""
    published, new = await due_holds(engine, 1), await due_holds(engine, 1)
    async with raw_connection(engine) as connection:
        await connection.execute(MAKE_PUBLISHED, published[0], 30.0, 4_000.0)

    first = await claim_due_holds(engine, again=False)

    assert [hold.id for hold in first] == new
    assert [hold.id for hold in await claim_due_holds(engine)] == published


async def test_a_sweep_goes_at_its_pace_and_rests_while_its_worker_is_stuck(engine, monkeypatch):
    """Seven holds at three a second: two pauses of a second, and the rest waits for the worker."""
    await due_holds(engine, 7)
    pauses: list[tuple[float, int]] = []
    published = Published()
    stuck = [False]
    expiry = HoldExpiry(
        engine, published, WorkerMetrics(new_registry()), "commands", NARROWER, 3, is_stuck=lambda: stuck[0]
    )

    async def pause(_: HoldExpiry, seconds: float) -> None:
        pauses.append((seconds, len(published.messages)))
        stuck[0] = len(pauses) == 2

    monkeypatch.setattr(HoldExpiry, "_pause", pause)

    swept = [await expiry.sweep(), await expiry.sweep()]
    stuck[0] = False
    swept.append(await expiry.sweep())

    assert swept == [6, 0, 1]
    assert pauses == [(1.0, 3), (1.0, 6)]


class Published:
    """Takes messages in Kafka's place."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def deliver(self, messages: Sequence[Message]) -> dict[int, str]:
        self.messages += messages
        return {}


async def test_only_active_holds_whose_time_is_over_are_due(engine):
    """Not those without an end, with a later one, or that ended otherwise."""
    (due,) = await due_holds(engine, 1)
    wallet, endless, later, released = (new_id() for _ in range(4))
    await run(
        engine,
        create_wallet(wallet),
        place_hold(wallet, endless),
        place_hold(wallet, later, expiresAt=FAR),
        place_hold(wallet, released, expiresAt=FAR),
        release_hold(wallet, released),
    )
    await make_due(engine, released)

    assert [hold.id for hold in await claim_due_holds(engine)] == [due]


async def test_two_who_claim_at_once_never_get_the_same_hold(engine, other):
    """Whoever comes second skips what is locked, and what was claimed a moment ago."""
    holds = await due_holds(engine, 30)

    async def claim_all(of: AsyncEngine) -> list[DueHold]:
        claimed: list[DueHold] = []
        while page := await claim_due_holds(of, page_holds=3):
            claimed += page
        return claimed

    both = await asyncio.gather(*(claim_all(of) for of in (engine, other, engine, other)))
    claimed = [hold.id for one in both for hold in one]

    # A page that was locked by another while the last one was looked for is still among the others'.
    assert sorted(claimed) == sorted(holds)


async def test_a_hold_that_somebody_has_locked_is_skipped_and_comes_later(engine, environment):
    """Nobody waits for it, and nobody is held up by it."""
    locked, free = await due_holds(engine, 2)

    async with foreign_transaction(environment) as connection:
        await connection.execute("SELECT FROM holds WHERE id = $1::uuid FOR UPDATE", locked)
        assert [hold.id for hold in await claim_due_holds(engine)] == [free]

    assert [hold.id for hold in await claim_due_holds(engine)] == [locked]


async def test_the_command_has_the_id_of_its_attempt_and_expires_the_hold_once(engine):
    """UUIDv5 of the hold and the attempt; published twice it is a repeat, and behind a refusal it has another id."""
    (hold_id,) = await due_holds(engine, 1)
    first, again = [await claim_due_holds(engine, **AT_ONCE) for _ in range(2)]
    async with raw_connection(engine) as connection:
        await connection.execute("UPDATE holds SET expires_at = now() + interval '1 day' WHERE id = $1::uuid", hold_id)
    refused = await run(engine, expiry(first[0]))
    await make_due(engine, hold_id)
    second = await claim_due_holds(engine, **AT_ONCE)

    outcomes = await run(engine, *(expiry(hold) for hold in (*again, *second)))

    ids = [str(uuid5(UUID(hold_id), name)) for name in ("1", "2")]
    assert [expiry(hold)["commandId"] for hold in (*first, *again, *second)] == [ids[0], ids[0], ids[1]]
    assert codes(refused) == ["HoldNotDue"]
    assert codes(outcomes) == ["HoldNotDue", "accepted"]
    assert [held for _, held, _ in (await states(engine)).values()] == ["0.0000"]


async def test_ids_that_others_used_early_are_passed_over(engine):
    """Whatever was sent under the ids of the next attempts, the hold is expired by the first one that is free."""
    wallet, hold_id = new_id(), new_id()
    await run(engine, create_wallet(wallet), place_hold(wallet, hold_id, expiresAt=FAR))
    early = [expire_hold(wallet, hold_id, commandId=str(expiry_id(hold_id, n))) for n in range(1, 40)]
    other_meaning = credit(wallet, commandId=str(expiry_id(hold_id, 40)))
    assert set(codes(await run(engine, *early))) == {"HoldNotDue"}
    assert codes(await run(engine, other_meaning)) == ["accepted"]
    await make_due(engine, hold_id)

    (hold,) = await claim_due_holds(engine)

    assert hold.attempt == 41
    assert codes(await run(engine, expiry(hold))) == ["accepted"]


async def test_more_used_ids_than_are_looked_at_delay_the_expiry_and_cannot_stop_it(engine):
    """Each time goes on where the last one ended."""
    wallet, hold_id = new_id(), new_id()
    await run(engine, create_wallet(wallet), place_hold(wallet, hold_id, expiresAt=FAR))
    await run(engine, *(expire_hold(wallet, hold_id, commandId=str(expiry_id(hold_id, n))) for n in range(1, 151)))
    await make_due(engine, hold_id)

    attempts = [(await claim_due_holds(engine, **AT_ONCE))[0].attempt for _ in range(2)]

    assert attempts == [112, 151]


@pytest.mark.parametrize(
    ("came_with", "headers"),
    [
        ({}, {"reply_to": b"wallet.replies"}),
        (
            {"reply_to": b"wallet.replies.shop", "correlation_id": b"\xff\x00", "kafka_correlationId": b"k"},
            {"reply_to": b"wallet.replies.shop", "correlation_id": b"\xff\x00", "kafka_correlationId": b"k"},
        ),
        (
            {"kafka_replyTopic": b"wallet.replies.shop", "kafka_correlationId": b"k"},
            {"reply_to": b"wallet.replies.shop", "kafka_correlationId": b"k"},
        ),
        ({"reply_to": b"wallet.replies.other", "correlation_id": b"c"}, {"correlation_id": b"c"}),
    ],
    ids=["nothing", "everything", "spring", "no-longer-allowed"],
)
async def test_the_reply_goes_where_the_holds_own_went(engine, came_with, headers):
    """Topic and correlation ids of `PlaceHold`, under each name; without a topic that is no longer allowed."""
    wallet, hold_id = new_id(), new_id()
    placed = received(place_hold(wallet, hold_id, expiresAt=FAR), list(came_with.items()))
    await run(engine, create_wallet(wallet), placed)
    await make_due(engine, hold_id)

    (hold,) = await claim_due_holds(engine)
    message = expire_command(hold, "commands", NARROWER)

    assert dict(message.headers) == headers
    assert (message.topic, message.key, message.is_reply) == ("commands", wallet.encode(), False)
    assert COMMAND.validate_json(message.value).wallet_id == wallet


async def test_the_lag_is_that_of_the_longest_overdue_hold(engine):
    """0 without one; published is not expired."""
    assert await read_lag_s(engine) == 0
    wallet, later = new_id(), new_id()
    later_s = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await run(engine, create_wallet(wallet), place_hold(wallet, later, expiresAt=later_s))
    assert await read_lag_s(engine) == 0
    first, _ = await due_holds(engine, 2)

    claimed = await claim_due_holds(engine)
    before = await read_lag_s(engine)
    await run(engine, expiry(claimed[0]))

    assert claimed[0].id == first
    assert claimed[0].overdue_s == pytest.approx(100, abs=5)
    assert before == pytest.approx(100, abs=5)
    assert await read_lag_s(engine) == pytest.approx(99, abs=5)


def ticks(count: int) -> list[ConsumerRecord]:
    return [command_record(b'{"type":"ExpireDueHolds"}') for _ in range(count)]


async def test_a_backlog_of_ticks_is_one_sweep_and_a_failed_one_does_not_end_the_next(engine, stack, monkeypatch):
    """A tick wakes the sweep, however many there are; whatever a sweep fails of, the next tick makes another."""
    settings = Settings.load(stack.environment())
    publisher = Publisher(connection_arguments(settings), settings.reply_topic)
    expiry = HoldExpiry(engine, publisher, WorkerMetrics(new_registry()), "commands", NARROWER)
    claims = []

    async def claim(*_arguments: object, **_named: object) -> list[DueHold]:
        claims.append("claimed")
        if len(claims) == 1:
            raise RuntimeError("as a bug would")
        return []

    monkeypatch.setattr(expire_holds, "claim_due_holds", claim)
    running = asyncio.create_task(expiry.run())
    try:
        expiry.hear(ticks(1))
        await eventually(lambda: len(claims) == 1, "the failed sweep")
        expiry.hear(ticks(1_000))
        await eventually(lambda: len(claims) == 2, "the sweep after it")
        # Whoever closes waits for the sweep that runs; of the backlog nothing is left by then.
        await expiry.close()
        assert len(claims) == 2
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_process_that_postgres_refuses_ends_instead_of_asking_at_each_tick(environment):
    """Trying again could lock the account; the line that it ends with says what to look at."""
    settings = Settings.load(environment)
    publisher = Publisher(connection_arguments(settings), settings.reply_topic)
    async with engine_of({**environment, "DB_USERNAME": "nobody-of-ours"}) as refused:
        expiry = HoldExpiry(refused, publisher, WorkerMetrics(new_registry()), "commands", NARROWER)
        expiry.hear(ticks(1))

        with pytest.raises(Fatal, match="DB_USERNAME"):
            await asyncio.wait_for(expiry.run(), REFUSED_S_MAX)

"""Holds on a real Postgres: written, read back, and ended once, by whoever comes first."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.at_once import at_once
from tests.support.commands import (
    Command,
    atomic,
    capture_hold,
    create_wallet,
    credit,
    expire_hold,
    new_id,
    place_hold,
    release_hold,
)
from tests.support.ledger import codes, run, states, stop_clock
from tests.support.received import received
from worker.database import raw_connection, raw_transaction
from worker.errors import Conflict
from worker.ledger import batch, lock
from worker.ledger.batch import run_batch
from worker.ledger.lock import fetch_holds

READ_ANSWERED_AT = "SELECT reply_topic, correlation_id, kafka_correlation_id FROM holds WHERE id = $1::uuid"

TRIES = 12
"""How often a capture and an expiry are let loose on each other."""


async def stored(engine: AsyncEngine, hold_id: str) -> Any:
    """The hold as the next batch will read it."""
    async with raw_connection(engine) as connection:
        return (await fetch_holds(connection, [hold_id]))[hold_id]


def soon(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def place_a_due_hold(engine: AsyncEngine, wallet_id: str, amount: str = "10") -> str:
    """Place a hold, and wait until its time is over by Postgres's clock."""
    hold_id = new_id()
    assert codes(await run(engine, place_hold(wallet_id, hold_id, amount, expiresAt=soon(seconds=0.3)))) == ["accepted"]
    query = "SELECT clock_timestamp() > expires_at FROM holds WHERE id = $1::uuid"
    async with raw_connection(engine) as connection:
        while not await connection.fetchval(query, hold_id):  # noqa: ASYNC110 -- the server has no event to wait for
            await asyncio.sleep(0.02)
    return hold_id


async def test_a_hold_is_read_back_as_it_was_placed(engine):
    """Amount, type, time, reference and metadata, byte for byte."""
    a, hold_id, end = new_id(), new_id(), "2999-12-31T23:59:59.000001+01:00"
    asked = place_hold(
        a, hold_id, "12.5", holdType="ESCROW", expiresAt=end, reference="r", metadata={"z": 1.0, "a": "é"}
    )

    (_, outcome) = await run(engine, create_wallet(a), asked)
    hold = await stored(engine, hold_id)

    assert (hold.wallet_id, str(hold.amount), str(hold.captured_amount)) == (a, "12.5000", "0.0000")
    assert (hold.status, hold.type, hold.reference, hold.metadata) == ("ACTIVE", "ESCROW", "r", '{"z":1.0,"a":"é"}')
    assert hold.expires_at == datetime.fromisoformat(end)
    assert (hold.released_at, hold.captured_at) == (None, None)
    assert hold.created_at == hold.updated_at
    assert json.loads(outcome.reply)["hold"]["expiresAt"] == "2999-12-31T22:59:59.000001Z"
    assert await states(engine) == {a: ("100.0000", "12.5000", 1)}


async def test_a_hold_ends_in_another_batch_than_it_was_placed(engine):
    """Captured in part, released, expired: each end is written once, with its time, and the rest is free."""
    a, b, captured, released = new_id(), new_id(), new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b, "0"))
    await run(engine, place_hold(a, captured, "10"), place_hold(a, released, "20"))
    expired = await place_a_due_hold(engine, a, "5")

    outcomes = await run(
        engine,
        capture_hold(a, captured, amount="4", toWalletId=b),
        release_hold(a, released),
        expire_hold(a, expired),
        release_hold(a, captured),
        expire_hold(a, released),
        capture_hold(a, expired),
    )
    holds = [await stored(engine, hold_id) for hold_id in (captured, released, expired)]

    assert codes(outcomes) == ["accepted"] * 3 + ["HoldNotActive", "HoldNotActive", "HoldExpired"]
    assert [hold.status for hold in holds] == ["CAPTURED", "RELEASED", "EXPIRED"]
    assert [str(hold.captured_amount) for hold in holds] == ["4.0000", "0.0000", "0.0000"]
    assert [(hold.captured_at is None, hold.released_at is None) for hold in holds] == [
        (False, True),
        (True, False),
        (True, True),
    ]
    assert all(hold.updated_at > hold.created_at for hold in holds)
    assert await states(engine) == {a: ("96.0000", "0.0000", 6), b: ("4.0000", "0.0000", 1)}


async def test_a_hold_that_is_placed_and_ends_in_one_batch_is_written_as_it_ended(engine):
    """It is new for Postgres, whatever became of it meanwhile."""
    a, hold_id = new_id(), new_id()

    outcomes = await run(engine, create_wallet(a), place_hold(a, hold_id, "10"), capture_hold(a, hold_id))
    again = await run(engine, place_hold(a, hold_id), capture_hold(a, hold_id))

    assert codes(outcomes) == ["accepted"] * 3
    assert codes(again) == ["HoldAlreadyExists", "HoldNotActive"]
    assert (await stored(engine, hold_id)).status == "CAPTURED"
    assert await states(engine) == {a: ("90.0000", "0.0000", 2)}


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([], ("wallet.replies", None, None)),
        (
            [("reply_to", b"wallet.replies.shop"), ("correlation_id", b"\x00\xff")],
            ("wallet.replies.shop", b"\x00\xff", None),
        ),
        (
            [("kafka_replyTopic", b"wallet.replies.shop"), ("kafka_correlationId", b"\x01" * 16)],
            ("wallet.replies.shop", None, b"\x01" * 16),
        ),
        (
            [("correlation_id", b"c"), ("kafka_correlationId", b"k")],
            ("wallet.replies", b"c", b"k"),
        ),
    ],
    ids=["none", "ours", "Spring's", "both"],
)
@pytest.mark.parametrize("wrap", [lambda *parts: parts[1], atomic], ids=["command", "part of a group"])
async def test_where_a_hold_was_placed_from_is_kept_for_its_expiry(engine, headers, kept, wrap):
    """Its owner hears of the end where its `PlaceHold` was answered; the end itself changes none of it."""
    a, hold_id = new_id(), new_id()
    await run(engine, create_wallet(a))

    await run(engine, received(wrap(credit(a), place_hold(a, hold_id)), headers))
    await run(engine, received(release_hold(a, hold_id), [("correlation_id", b"another")]))

    async with raw_connection(engine) as connection:
        assert tuple(await connection.fetchrow(READ_ANSWERED_AT, hold_id)) == kept


async def test_a_hold_id_that_another_wallet_used_is_taken_and_cannot_be_touched(engine):
    """The hold comes along by its id, whatever its wallet."""
    a, b, hold_id = new_id(), new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b), place_hold(a, hold_id, "10"))

    outcomes = await run(engine, place_hold(b, hold_id), release_hold(b, hold_id), capture_hold(b, hold_id))

    assert codes(outcomes) == ["HoldAlreadyExists", "HoldNotFound", "HoldNotFound"]
    assert all("hold" not in json.loads(outcome.reply) for outcome in outcomes)
    assert (await stored(engine, hold_id)).status == "ACTIVE"


async def test_two_workers_that_place_one_hold_id_on_two_wallets_at_once(environment, engine, other, monkeypatch):
    """No lock makes them wait, the hold's row does: the later one looks again and is refused."""
    a, b, hold_id = new_id(), new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b))

    (first,), (second, credited) = await at_once(
        environment,
        monkeypatch,
        run(engine, place_hold(a, hold_id, "10")),
        run(other, place_hold(b, hold_id, "20"), credit(b)),
        commits=True,
    )

    assert codes([first, second, credited]) == ["accepted", "HoldAlreadyExists", "accepted"]
    assert await states(engine) == {a: ("100.0000", "10.0000", 1), b: ("101.0000", "0.0000", 1)}


@pytest.mark.parametrize("commits", [True, False], ids=["the first commits", "the first is lost"])
@pytest.mark.parametrize("turned", [False, True], ids=["the capture is first", "the expiry is first"])
async def test_a_hold_ends_as_the_first_of_two_workers_says(environment, engine, other, monkeypatch, turned, commits):
    """At the very instant both may pass; whoever commits first ends it, and the other is told how it ended."""
    a, hold_id = new_id(), new_id()
    await run(engine, create_wallet(a))
    instant = datetime.now(UTC) + timedelta(hours=1)
    stop_clock(monkeypatch, instant)
    await run(engine, place_hold(a, hold_id, "10", expiresAt=instant.isoformat()))
    ends = [capture_hold(a, hold_id), expire_hold(a, hold_id)]
    first, second = reversed(ends) if turned else ends

    (won,), (lost,) = await at_once(environment, monkeypatch, run(engine, first), run(other, second), commits=commits)
    if not commits:
        won, lost, turned = lost, won, not turned

    assert codes([won, lost]) == ["accepted", "HoldExpired" if turned else "HoldNotActive"]
    status, balance = ("EXPIRED", "100.0000") if turned else ("CAPTURED", "90.0000")
    assert [json.loads(outcome.reply)["hold"]["status"] for outcome in (won, lost)] == [status, status]
    assert (await stored(engine, hold_id)).status == status
    assert await states(engine) == {a: (balance, "0.0000", 2)}


async def test_captures_and_expiries_at_one_instant_end_each_hold_in_exactly_one(engine, other, monkeypatch):
    """Let loose on one another, in batches, again and again: what is paid is what was captured, no more and no less."""
    instant = datetime.now(UTC) + timedelta(hours=1)
    stop_clock(monkeypatch, instant)
    a, b = new_id(), new_id()
    await run(engine, create_wallet(a, "1000"), create_wallet(b, "0"))
    won = {"capture": 0, "expire": 0}

    for _ in range(TRIES):
        ids = [new_id() for _ in range(5)]
        await run(engine, *(place_hold(a, id_, "1", expiresAt=instant.isoformat()) for id_ in ids))
        captures, expiries = await asyncio.gather(
            run(engine, *(capture_hold(a, id_, toWalletId=b) for id_ in ids)),
            run(other, *(expire_hold(a, id_) for id_ in reversed(ids))),
        )
        for capture, expiry in zip(codes(captures), reversed(codes(expiries)), strict=True):
            assert (capture, expiry) in {("accepted", "HoldNotActive"), ("HoldExpired", "accepted")}
            won["capture" if capture == "accepted" else "expire"] += 1

    assert sum(won.values()) == 5 * TRIES
    after = await states(engine)
    assert after[b] == (f"{won['capture']}.0000", "0.0000", won["capture"])
    assert after[a][:2] == (f"{1000 - won['capture']}.0000", "0.0000")


async def test_a_hold_that_moves_in_spite_of_its_wallets_lock_is_never_ended_twice(engine, other, monkeypatch):
    """The update asks again whether it is active: without the lock, the batch is rolled back."""
    a, b, hold_id = new_id(), new_id(), new_id()
    await run(engine, create_wallet(a), create_wallet(b, "0"), place_hold(a, hold_id, "10"))
    monkeypatch.setattr(lock, "LOCK_WALLETS", lock.LOCK_WALLETS.replace("FOR UPDATE", ""))
    persist = batch.persist

    async def overtaken(connection, decided) -> None:
        async with raw_transaction(other) as theirs:
            await theirs.execute("UPDATE holds SET status = 'EXPIRED' WHERE id = $1::uuid", hold_id)
        await persist(connection, decided)

    monkeypatch.setattr(batch, "persist", overtaken)
    with pytest.raises(Conflict, match="a locked row moved: UPDATE 0"):
        await run_batch(engine, [received(release_hold(a, hold_id))])

    assert (await stored(engine, hold_id)).status == "EXPIRED"


async def test_holds_cost_as_many_statements_whatever_their_number(engine):
    """One to fetch them, one to write the new ones, one to end the old ones."""
    a = new_id()
    ids = [new_id() for _ in range(80)]
    await run(engine, create_wallet(a, "1000"), *(place_hold(a, id_) for id_ in ids[:40]))
    await run(engine, release_hold(a, ids[0]))
    asked: list[str] = []

    async with raw_connection(engine) as connection:
        connection.add_query_logger(lambda record: asked.append(record.query))
    await run(engine, *mixed(a, ids[40:41], ids[1:2]))
    few = len(asked)
    await run(engine, *mixed(a, ids[41:], ids[2:40]))

    assert len(asked) == 2 * few
    assert sum("holds" in query for query in asked[:few]) >= 2


def mixed(wallet_id: str, new: list[str], old: list[str]) -> list[Command]:
    return [*(place_hold(wallet_id, id_) for id_ in new), *(capture_hold(wallet_id, id_) for id_ in old)]

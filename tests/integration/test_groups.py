"""A wallet's life, and groups of commands, on a real Postgres: written as a whole or not at all."""

from __future__ import annotations

from tests.support.commands import (
    atomic,
    capture_hold,
    close_wallet,
    create_wallet,
    credit,
    debit,
    new_id,
    place_hold,
    reactivate_wallet,
    suspend_wallet,
    transfer,
    update_metadata,
)
from tests.support.ledger import codes, engine_of, run, states
from worker.database import raw_connection


async def test_a_wallet_is_suspended_reactivated_described_and_closed(engine):
    """Each is written with the wallet's row; what is so already makes no event, and is accepted."""
    a = new_id()
    steps = [
        create_wallet(a, "10", metadata={"a": 1, "b": 2}),
        suspend_wallet(a, reason="r"),
        suspend_wallet(a),
        debit(a),
        credit(a, "5"),
        update_metadata(a, {"a": None, "c": 3}),
        reactivate_wallet(a),
        reactivate_wallet(a),
        debit(a, "15"),
        close_wallet(a, expectedVersion=5),
        credit(a),
        reactivate_wallet(a),
    ]

    one_by_one = [(await run(engine, step))[0] for step in steps]

    assert codes(one_by_one) == [
        "accepted",
        "accepted",
        "accepted",
        "WalletNotActive",
        *["accepted"] * 6,
        "WalletNotActive",
        "WalletNotActive",
    ]
    assert [len(outcome.events) for outcome in one_by_one] == [1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 0]
    async with raw_connection(engine) as connection:
        row = await connection.fetchrow("SELECT status, metadata, version FROM wallets")
    assert tuple(row) == ("CLOSED", '{"b":2,"c":3}', 6)
    assert await states(engine) == {a: ("0.0000", "0.0000", 6)}


async def test_a_group_is_written_as_a_whole_or_not_at_all(environment, engine):
    """In a batch with others, across wallets; and a repeat gets its reply, also from a worker that starts anew."""
    a, b, hold_id, refused_id = new_id(), new_id(), new_id(), new_id()
    paid = atomic(
        transfer(a, b, "10"), place_hold(b, hold_id, "5"), capture_hold(b, hold_id, amount="2"), reference="g"
    )
    refused = atomic(credit(a, "50"), place_hold(a, refused_id, "1"), debit(b, "1000"), credit(b))

    outcomes = await run(engine, create_wallet(a), create_wallet(b, "0"), credit(a), paid, refused, debit(a))
    async with engine_of(environment) as restarted:
        again = await run(restarted, paid, refused, {**paid, "reference": "h"})

    assert codes(outcomes) == ["accepted"] * 4 + ["InsufficientFunds", "accepted"]
    assert await states(engine) == {a: ("90.0000", "0.0000", 3), b: ("8.0000", "0.0000", 3)}
    assert codes(again) == ["accepted", "InsufficientFunds", "IdempotencyConflict"]
    assert [outcome.reply for outcome in again[:2]] == [outcome.reply for outcome in outcomes[3:5]]
    async with raw_connection(engine) as connection:
        assert await connection.fetchval("SELECT count(*) FROM holds") == 1
        in_group = await connection.fetch(
            "SELECT event_type, reference, group_id::text, command_id::text FROM ledger WHERE group_id IS NOT NULL "
            "ORDER BY wallet_id = $1::uuid, version",
            b,
        )
    assert [tuple(row) for row in in_group] == [
        (event_type, "g", paid["commandId"], paid["commandId"])
        for event_type in ("WalletDebited", "WalletCredited", "HoldPlaced", "HoldCaptured")
    ]

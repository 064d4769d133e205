"""The checker bites: a wallet whose stores do not agree, or hold what may never be, is found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tests.support.accounts import Account, Totals, rows_violations, stream_violations
from tests.support.fold import HOLD_ENDS

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HOLD, OTHER_HOLD = str(uuid4()), str(uuid4())


def entry(version: int, type_: str, balance: int, held: int = 0, **fields: object):
    """A row of the ledger."""
    empty = dict.fromkeys(("amount", "hold", "wallet_metadata", "counterparty_wallet_id"))
    ids = {"event_id": uuid4(), "command_id": uuid4()}
    stands = {"balance": Decimal(balance), "held_balance": Decimal(held), "status": "ACTIVE", "occurred_at": NOW}
    return {"version": version, "event_type": type_, **empty, **ids, **stands, **fields}


def created(amount: int = 10):
    return entry(0, "WalletCreated", amount, amount=Decimal(amount), wallet_metadata="{}")


def event(of, **changes: object):
    """The event of an entry, as the stream has it."""
    data = {
        "version": of["version"],
        "occurredAt": f"{of['occurred_at']:%Y-%m-%dT%H:%M:%S.%fZ}",
        "ownerId": "owner",
        "currency": "USD",
        "initialBalance": str(of["amount"]),
        "balance": str(of["balance"]),
        "heldBalance": str(of["held_balance"]),
        "status": of["status"],
        "walletMetadata": {},
    } | changes
    metadata = json.dumps({"$causationId": str(of["command_id"])})
    place = of["version"]
    return SimpleNamespace(
        id=of["event_id"], type=of["event_type"], stream_position=place, data=json.dumps(data), metadata=metadata
    )


def account(*entries, balance: int = 10, held: int = 0, holds=(), stream=(), **fields: object) -> Account:
    """A wallet whose row says what is given."""
    money = {"balance": Decimal(balance), "held_balance": Decimal(held), "available_balance": Decimal(balance - held)}
    about = {"id": uuid4(), "owner_id": "owner", "currency": "USD", "status": "ACTIVE", "metadata": "{}"}
    return Account({**about, "version": len(entries) - 1, **money, **fields}, holds, entries, stream)


def hold_row(status: str, expires_at: datetime | None, id_: str = HOLD):
    amounts = {"amount": Decimal(4), "captured_amount": Decimal(0)}
    return {"id": id_, "status": status, "expires_at": expires_at, **amounts}


def expired(ends: timedelta) -> Account:
    """A wallet with a hold that expired at `NOW`, though it ends so much later."""
    said = {"holdId": HOLD, "amount": "4", "capturedAmount": "0"}
    placed = entry(1, "HoldPlaced", 10, 4, amount=Decimal(4), hold=json.dumps({**said, "status": "ACTIVE"}))
    ended = entry(2, "HoldExpired", 10, amount=Decimal(4), hold=json.dumps({**said, "status": "EXPIRED"}))
    return account(created(), placed, ended, holds=[hold_row("EXPIRED", NOW + ends)])


def hold_story(*ends: tuple[str, str, int]) -> Account:
    """A wallet with two holds of 4 that ended so: event, hold, and how much was captured. Its rows agree with that."""
    balance, held, holds = 10, 0, {id_: hold_row("ACTIVE", None, id_) for id_ in (HOLD, OTHER_HOLD)}
    entries = [created()]
    for type_, id_, captured in [("HoldPlaced", HOLD, 0), ("HoldPlaced", OTHER_HOLD, 0), *ends]:
        balance, held = balance - captured, held + (4 if type_ == "HoldPlaced" else -4)
        status = HOLD_ENDS.get(type_, "ACTIVE")
        holds[id_] = {**holds[id_], "status": status, "captured_amount": Decimal(captured)}
        said = {"holdId": id_, "amount": "4", "capturedAmount": str(captured), "status": status}
        amount = Decimal(captured or 4)
        entries.append(entry(len(entries), type_, balance, held, amount=amount, hold=json.dumps(said)))
    return account(*entries, balance=balance, held=held, holds=holds.values())


@pytest.mark.parametrize(
    "wrong",
    [
        account(created(), balance=11),
        account(created(), version=1),
        account(created(-1), balance=-1),
        account(created(), held=11),
        account(created(), available_balance=Decimal(11)),
        account(created(), holds=[hold_row("ACTIVE", None)]),
        account(created(), entry(2, "WalletCredited", 11, amount=Decimal(1)), balance=11),
        account(created(), entry(1, "WalletCredited", 12, amount=Decimal(1)), balance=12),
        expired(timedelta(microseconds=1)),
    ],
    ids="balance version negative held available stray-hold gap contradiction early-expiry".split(),
)
def test_rows_that_do_not_agree_are_found(wrong):
    """Those of a wallet, of its ledger, of its holds."""
    assert [*rows_violations(account(created()))] == []
    assert [*rows_violations(expired(timedelta()))] == []
    assert [*rows_violations(wrong)]


def test_streams_that_are_not_the_ledger_are_found():
    """An event too few, a foreign one, another time, another owner, another outcome."""
    first = created()
    foreign = created()
    later = NOW + timedelta(microseconds=1)

    def with_stream(*stream) -> list[str]:
        return [*stream_violations(account(first, stream=stream))]

    assert with_stream(event(first)) == []
    assert with_stream() and with_stream(event(first), event(first))
    assert with_stream(event(foreign))
    assert with_stream(event(first, occurredAt=f"{later:%Y-%m-%dT%H:%M:%S.%fZ}"))
    assert with_stream(event(first, ownerId="thief"))
    assert with_stream(event(first, balance="11"))


def test_a_hole_in_a_stream_is_found():
    """As many events as there must be, but not at their revisions."""
    entries = created(), entry(1, "WalletCredited", 11, amount=Decimal(1))
    first, second = map(event, entries)
    gone_up = SimpleNamespace(**vars(second) | {"stream_position": 2})

    def with_stream(*stream) -> list[str]:
        return [*stream_violations(account(*entries, balance=11, stream=stream))]

    assert with_stream(first, second) == []
    assert [found.partition(" ")[2] for found in with_stream(first, gone_up)] == [
        "is at version 1, and its stream has the revisions 0 to 0, then 2 (2 in all)"
    ]


def test_time_that_runs_backwards_in_a_stream_is_found():
    """Though the ledger says the same."""
    entries = created(), entry(1, "WalletSuspended", 10, status="SUSPENDED", occurred_at=NOW - timedelta(seconds=1))
    stream = [event(entries[0]), event(entries[1], initialBalance=None)]

    (found,) = stream_violations(account(*entries, status="SUSPENDED", stream=stream))

    assert found.endswith("occurredAt runs backwards in its stream")


def test_a_hold_that_ended_twice_is_found():
    """Also where all sums are right, since another hold was never given free."""
    good = hold_story(("HoldReleased", HOLD, 0), ("HoldReleased", OTHER_HOLD, 0))
    twice = hold_story(("HoldReleased", HOLD, 0), ("HoldReleased", HOLD, 0))

    assert [*rows_violations(good)] == []
    (found,) = rows_violations(twice)
    assert "ends a hold that is RELEASED" in found


def test_a_hold_that_was_captured_beyond_what_it_reserved_is_found():
    """All of it may be paid out, and no more."""
    assert [*rows_violations(hold_story(("HoldCaptured", HOLD, 4)))] == []
    (found,) = rows_violations(hold_story(("HoldCaptured", HOLD, 5)))
    assert "its ledger contradicts itself" in found


def test_money_from_nowhere_is_found():
    """Over all wallets: what was not paid in, and what left one wallet and came to none."""
    totals = Totals()
    totals.add(account(created()))
    assert [*totals.violations()] == []

    totals.add(account(created(), balance=11))
    moved = entry(1, "WalletDebited", 7, amount=Decimal(3), counterparty_wallet_id=uuid4())
    totals.add(account(created(), moved, balance=7))

    assert [*totals.violations()] == [
        "balances hold -2 USD more than was paid in and not paid out",
        "transfers made or lost -3 USD",
    ]

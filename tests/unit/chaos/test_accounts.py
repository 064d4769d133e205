"""The checker bites: a wallet whose stores do not agree, or hold what may never be, is found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tests.support.accounts import Account, Totals, rows_violations, stream_violations

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HOLD = str(uuid4())


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


def hold_row(status: str, expires_at: datetime | None):
    amounts = {"amount": Decimal(4), "captured_amount": Decimal(0)}
    return {"id": HOLD, "status": status, "expires_at": expires_at, **amounts}


def expired(ends: timedelta) -> Account:
    """A wallet with a hold that expired at `NOW`, though it ends so much later."""
    said = {"holdId": HOLD, "amount": "4", "capturedAmount": "0"}
    placed = entry(1, "HoldPlaced", 10, 4, amount=Decimal(4), hold=json.dumps({**said, "status": "ACTIVE"}))
    ended = entry(2, "HoldExpired", 10, amount=Decimal(4), hold=json.dumps({**said, "status": "EXPIRED"}))
    return account(created(), placed, ended, holds=[hold_row("EXPIRED", NOW + ends)])


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

    def with_stream(*stream) -> list[str]:
        return [*stream_violations(account(first, stream=stream))]

    assert with_stream(event(first)) == []
    assert with_stream() and with_stream(event(first), event(first))
    assert with_stream(event(foreign))
    assert with_stream(event(first, ownerId="thief"))
    assert with_stream(event(first, balance="11"))


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

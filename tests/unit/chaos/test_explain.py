"""The checker bites: replies that no sequential run gives are found, and wallets and holds that it would not leave."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tests.support.accounts import Account
from tests.support.commands import Command, credit, new_id
from tests.support.explain import Outcome, explain
from tests.support.model import Hold, Model, Wallet
from tests.support.runs import Run

WALLET, HOLD = new_id(), new_id()


def told(command: Command, version: int, balance: str, key: bytes | None = WALLET.encode(), made: int = 1) -> Run:
    """An accepted command that left the wallet so."""
    amounts = {"balance": balance, "heldBalance": "0.0000", "availableBalance": balance}
    wallet = {"walletId": WALLET, "version": version, "status": "ACTIVE", "currency": "USD", **amounts}
    said = {"commandId": command["commandId"], "type": command["type"], "status": "accepted", "wallets": [wallet]}
    content = json.dumps({**said, "processedAt": "2026-11-23T00:00:00.000000Z"})
    return Run(key, json.dumps(command).encode(), content, {WALLET: made})


CREATED = told({"commandId": new_id(), "type": "CreateWallet", "walletId": WALLET, "ownerId": "a"}, 0, "0.0000")


def account(hold_status: str = "ACTIVE", captured: int = 0, **changes: object) -> Account:
    """A wallet at version 1 with 10, of which a hold reserves 4."""
    stands = {"version": 1, "status": "ACTIVE", "balance": Decimal(10), "held_balance": Decimal(4)}
    hold = {"id": HOLD, "status": hold_status, "captured_amount": Decimal(captured)}
    return Account({"id": WALLET, **stands, **changes}, [hold], (), ())


def test_a_reply_that_the_model_does_not_give_is_found():
    """Money was credited that a sequential run would not have had."""
    assert explain([CREATED, told(credit(WALLET), 1, "1.0000")]).wallets[WALLET].version == 1
    with pytest.raises(AssertionError, match="the model says"):
        explain([CREATED, told(credit(WALLET), 1, "2.0000")])


def test_two_commands_that_made_one_version_are_found():
    """Each saw the wallet without the other."""
    assert explain([CREATED, told(credit(WALLET), 1, "1.0000"), told(credit(WALLET), 2, "2.0000")])
    with pytest.raises(AssertionError, match="two commands made version 1"):
        explain([CREATED, told(credit(WALLET), 1, "1.0000"), told(credit(WALLET), 1, "1.0000")])


def test_a_version_that_was_seen_and_that_nobody_made_is_found():
    """A command's reply is missing, or took effect without one."""
    with pytest.raises(AssertionError, match="saw version 1, which nobody made"):
        explain([CREATED, told(credit(WALLET), 2, "2.0000")])


def test_an_order_that_contradicts_the_key_is_found():
    """Without a key no order is promised; with one, whatever was published first comes first."""
    apart = [told(credit(WALLET), 2, "2.0000", key=None), told(credit(WALLET), 1, "1.0000", key=None)]
    together = [told(credit(WALLET), 2, "2.0000"), told(credit(WALLET), 1, "1.0000")]

    assert explain([CREATED, *apart]).wallets[WALLET].version == 2
    with pytest.raises(AssertionError, match="each of these came before the next one"):
        explain([CREATED, *together])


@pytest.mark.parametrize(
    ("what", "stored"),
    [
        ("wallet", [account(version=2)]),
        ("wallet", [account(status="SUSPENDED")]),
        ("wallet", [account(balance=Decimal(9))]),
        ("wallet", [account(held_balance=Decimal(0))]),
        ("wallet", [account(), account(id=new_id())._replace(holds=())]),
        ("wallet", []),
        ("hold", [account("RELEASED")]),
        ("hold", [account(captured=4)]),
        ("hold", [account()._replace(holds=())]),
    ],
    ids="version status balance held too-many none hold-status captured no-hold".split(),
)
def test_wallets_and_holds_that_ended_otherwise_are_found(what, stored):
    """By the stores, and by the model."""
    wallet = Wallet(WALLET, "USD", Decimal(10), {}, held=Decimal(4), version=1)
    model = Model({WALLET: wallet}, {HOLD: Hold(HOLD, WALLET, Decimal(4), None)})

    assert [*Outcome([account()]).violations(model)] == []
    first, *_ = Outcome(stored).violations(model)
    assert first.startswith(f"the {what} ")

"""Deciding what pays money in, out, or across: currencies, statuses, and how far a balance goes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.domain.scenes import SOURCE, TARGET, scene
from tests.unit.domain.test_decide import FACTS
from worker.contracts.money import BALANCE_MAX
from worker.contracts.status import WalletStatus
from worker.domain.facts import WalletCreated
from worker.domain.rejections import Rejected


@pytest.mark.parametrize("command_type", ["CreditWallet", "DebitWallet", "Transfer"])
def test_the_wallets_own_currency_may_be_named(command_type):
    """Naming it is a safeguard, leaving it out means the same."""
    asked = scene(command_type)
    asked.fields["currency"] = "USD"

    assert asked.decide() == FACTS[command_type]


def test_a_transfer_between_two_wallets_of_another_currency_passes():
    """A missing currency means the wallet's."""
    asked = scene("Transfer")
    asked.change(SOURCE, currency="EUR")
    asked.change(TARGET, currency="EUR")

    assert asked.decide() == FACTS["Transfer"]


def test_a_suspended_wallet_takes_money():
    """No money leaves it, and credits come in: by a credit or as a transfer's target."""
    credited, paid = scene("CreditWallet"), scene("Transfer")
    credited.change(SOURCE, status=WalletStatus.SUSPENDED)
    paid.change(TARGET, status=WalletStatus.SUSPENDED)

    assert credited.decide() == FACTS["CreditWallet"]
    assert paid.decide() == FACTS["Transfer"]


@pytest.mark.parametrize("status", [WalletStatus.SUSPENDED, WalletStatus.CLOSED])
@pytest.mark.parametrize("command_type", ["DebitWallet", "Transfer"])
def test_no_money_leaves_a_wallet_that_is_not_active(command_type, status):
    """Suspended or closed."""
    asked = scene(command_type)
    asked.change(SOURCE, status=status)

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.details == {"walletId": SOURCE, "status": status.value}


@pytest.mark.parametrize("command_type", ["DebitWallet", "Transfer"])
@pytest.mark.parametrize(("amount", "passes"), [("79.9999", True), ("80.0000", True), ("80.0001", False)])
def test_all_that_is_available_can_be_taken_and_no_more(command_type, amount, passes):
    """Available is the balance less what is held: 100 less 20."""
    asked = scene(command_type)
    asked.fields["amount"] = amount

    assert isinstance(asked.decide(), tuple) == passes


@pytest.mark.parametrize(
    ("command_type", "receiver"), [("CreditWallet", SOURCE), ("Transfer", TARGET)], ids=["credit", "transfer"]
)
@pytest.mark.parametrize(("amount", "passes"), [("0.9999", True), ("1", True), ("1.0001", False)])
def test_a_balance_reaches_its_limit_and_no_more(command_type, receiver, amount, passes):
    """9 * 10^14 is the last balance that fits a 64-bit integer of ten-thousandths."""
    asked = scene(command_type)
    asked.change(receiver, balance=BALANCE_MAX - 1)
    asked.fields["amount"] = amount

    assert isinstance(asked.decide(), tuple) == passes


def test_a_new_wallet_is_as_its_sender_asked():
    """Owner, currency, money and metadata; the metadata as JSON text."""
    asked = scene("CreateWallet")
    asked.fields |= {"currency": "EUR", "initialBalance": "12.5", "metadata": {"z": 1, "a": "é"}, "ownerId": "o"}

    assert asked.decide() == (WalletCreated(SOURCE, "o", "EUR", Decimal("12.5000"), '{"z":1,"a":"é"}'),)


def test_a_wallet_is_opened_without_what_is_null_in_its_metadata():
    """The first metadata is merged into none (RFC 7396); nulls in a list are values."""
    asked = scene("CreateWallet")
    asked.fields["metadata"] = {"a": None, "b": {"c": None, "d": {"e": None}}, "f": [None], "g": 1}

    (created,) = asked.decide()

    assert isinstance(created, WalletCreated)
    assert created.metadata == '{"b":{"d":{}},"f":[null],"g":1}'

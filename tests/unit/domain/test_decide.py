"""The decision: what passes, what is refused for which reason, and which of two reasons is told."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations

import pytest

from tests.unit.domain.scenes import NOW, REASONS, SOURCE, TARGET, Reason, scene
from worker.contracts.money import BALANCE_MAX, ZERO
from worker.contracts.status import WalletStatus
from worker.domain.decide import wallet_ids
from worker.domain.facts import WalletCreated, WalletCredited, WalletDebited
from worker.domain.rejections import Rejected

TEN = Decimal("10.0000")
EACH_REASON = [
    pytest.param(type_, reason, id=f"{type_}-{reason.name}") for type_ in REASONS for reason in REASONS[type_]
]
EACH_PAIR = [
    pytest.param(type_, first, second, id=f"{type_}-{first.name}-{second.name}")
    for type_ in REASONS
    for first, second in combinations(REASONS[type_], 2)
]
FACTS = {
    "CreateWallet": (WalletCreated(SOURCE, "customer-17", "USD", ZERO, "{}"),),
    "CreditWallet": (WalletCredited(SOURCE, TEN),),
    "DebitWallet": (WalletDebited(SOURCE, TEN),),
    "Transfer": (WalletDebited(SOURCE, TEN, TARGET), WalletCredited(TARGET, TEN, SOURCE)),
}


@pytest.mark.parametrize("command_type", FACTS)
def test_what_nothing_speaks_against_happens(command_type):
    """A command that passes gives its facts: a transfer one on each side, the source's first."""
    decision = scene(command_type).decide()

    assert decision == FACTS[command_type]


@pytest.mark.parametrize(("command_type", "reason"), EACH_REASON)
def test_a_refusal_says_enough_to_act_on(command_type: str, reason: Reason):
    """The code, and the details that its sender needs."""
    asked = scene(command_type)
    reason.apply(asked)

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.code == reason.code
    assert decision.details == reason.details
    assert decision.message


@pytest.mark.parametrize(("command_type", "first", "second"), EACH_PAIR)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_of_two_reasons_the_first_in_the_order_of_refusal_is_told(command_type, first, second, turned):
    """The order is the contract's, not that in which things went wrong."""
    asked = scene(command_type)
    for reason in (second, first) if turned else (first, second):
        reason.apply(asked)

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert (decision.code, decision.details.get("walletId")) == (first.code, first.details.get("walletId"))


@pytest.mark.parametrize("command_type", FACTS)
def test_at_the_very_instant_of_not_after_a_command_still_runs(command_type):
    """Later than this it is refused; at this moment it is not later."""
    asked = scene(command_type)
    asked.fields["notAfter"] = NOW.isoformat()

    assert asked.decide() == FACTS[command_type]


@pytest.mark.parametrize("command_type", ["CreditWallet", "DebitWallet", "Transfer"])
def test_the_version_that_was_expected_lets_a_command_pass(command_type):
    """And what the target's version is, nobody asked."""
    asked = scene(command_type)
    asked.fields["expectedVersion"] = 7
    asked.change(TARGET, version=99)

    assert asked.decide() == FACTS[command_type]


@pytest.mark.parametrize("expected", [0, 6, 8, 2**63 - 1])
@pytest.mark.parametrize("command_type", ["CreditWallet", "DebitWallet", "Transfer"])
def test_any_other_version_is_refused(command_type, expected):
    """Version 0 is a version: it is not the same as none expected."""
    asked = scene(command_type)
    asked.fields["expectedVersion"] = expected

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.details == {"walletId": SOURCE, "expected": expected, "actual": 7}


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


@pytest.mark.parametrize("command_type", FACTS)
def test_deciding_changes_no_wallet(command_type):
    """A decision is only said; `evolve` makes the wallet after it."""
    asked = scene(command_type)
    before = dict(asked.wallets)

    asked.decide()

    assert asked.wallets == before


def test_a_command_names_its_wallets_the_source_first():
    """Each once: a transfer to itself names one."""
    paid, to_itself = scene("Transfer"), scene("Transfer")
    to_itself.fields["toWalletId"] = SOURCE

    assert wallet_ids(paid.command()) == (SOURCE, TARGET)
    assert wallet_ids(to_itself.command()) == (SOURCE,)
    assert wallet_ids(scene("CreateWallet").command()) == (SOURCE,)

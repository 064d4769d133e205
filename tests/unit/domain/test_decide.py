"""The decision: what passes, what is refused for which reason, and which of two reasons is told."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import pytest

from tests.unit.domain.reasons import REASONS, Reason
from tests.unit.domain.scenes import COMMAND_TYPES, HOLD, NOW, SOURCE, TARGET, TEN, scene
from worker.contracts.money import ZERO
from worker.contracts.replies import ErrorCode
from worker.contracts.status import HoldType
from worker.domain import facts
from worker.domain.decide import hold_ids, wallet_ids
from worker.domain.rejections import Rejected

EACH_REASON = [
    pytest.param(type_, reason, id=f"{type_}-{reason.name}") for type_ in REASONS for reason in REASONS[type_]
]
EACH_PAIR = [
    pytest.param(type_, first, second, id=f"{type_}-{first.name}-{second.name}")
    for type_ in REASONS
    for first, second in combinations(REASONS[type_], 2)
]
# The contract's "Order of refusal", from where a command is decided on; what stands together is one step.
ORDER = (
    ("CommandExpired",),
    ("SameWallet",),
    ("WalletNotFound", "WalletAlreadyExists"),
    ("WalletQuarantined",),
    ("EventConcurrency",),
    ("WalletNotActive",),
    ("CurrencyMismatch",),
    ("HoldNotFound", "HoldAlreadyExists"),
    ("HoldNotActive", "HoldExpired", "HoldNotDue"),
    ("CaptureExceedsHold",),
    ("InsufficientFunds", "WalletNotEmpty"),
    ("BalanceLimitExceeded", "MetadataTooLarge"),
)
BEFORE_A_DECISION = {"ReplyTopicNotAllowed", "InvalidCommand", "InvalidAmount", "IdempotencyConflict", "InternalError"}
VERSIONED = [type_ for type_ in COMMAND_TYPES if type_ != "CreateWallet"]
FACTS = {
    "CreateWallet": (facts.WalletCreated(SOURCE, "customer-17", "USD", ZERO, "{}"),),
    "CreditWallet": (facts.WalletCredited(SOURCE, TEN),),
    "DebitWallet": (facts.WalletDebited(SOURCE, TEN),),
    "Transfer": (facts.WalletDebited(SOURCE, TEN, TARGET), facts.WalletCredited(TARGET, TEN, SOURCE)),
    "PlaceHold": (facts.HoldPlaced(SOURCE, HOLD, TEN, HoldType.PAYMENT, None, None, None),),
    "ReleaseHold": (facts.HoldReleased(SOURCE, HOLD, TEN),),
    "CaptureHold": (facts.HoldCaptured(SOURCE, HOLD, TEN, ZERO, TARGET), facts.WalletCredited(TARGET, TEN, SOURCE)),
    "ExpireHold": (facts.HoldExpired(SOURCE, HOLD, TEN),),
    "SuspendWallet": (facts.WalletSuspended(SOURCE, None),),
    "ReactivateWallet": (facts.WalletReactivated(SOURCE, None),),
    "CloseWallet": (facts.WalletClosed(SOURCE),),
    "UpdateMetadata": (facts.WalletMetadataUpdated(SOURCE, '{"plan":"business","tier":2}'),),
}


@pytest.mark.parametrize("command_type", COMMAND_TYPES)
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


def test_the_table_of_reasons_is_in_the_contracts_order_and_leaves_no_code_out():
    """So that the pairs above are those of the contract: each code has its place, each command its reasons."""
    places = {code: place for place, codes in enumerate(ORDER) for code in codes}

    assert places.keys() | BEFORE_A_DECISION == set(ErrorCode)
    assert {reason.code for reasons in REASONS.values() for reason in reasons} == places.keys()
    assert REASONS.keys() == set(COMMAND_TYPES)
    for reasons in REASONS.values():
        told = [places[reason.code] for reason in reasons]
        assert told == sorted(told)


@pytest.mark.parametrize("command_type", COMMAND_TYPES)
def test_at_the_very_instant_of_not_after_a_command_still_runs(command_type):
    """Later than this it is refused; at this moment it is not later."""
    asked = scene(command_type)
    asked.fields["notAfter"] = NOW.isoformat()

    assert asked.decide() == FACTS[command_type]


@pytest.mark.parametrize("command_type", VERSIONED)
def test_the_version_that_was_expected_lets_a_command_pass(command_type):
    """And what the target's version is, nobody asked."""
    asked = scene(command_type)
    asked.fields["expectedVersion"] = 7
    asked.change(TARGET, version=99)

    assert asked.decide() == FACTS[command_type]


@pytest.mark.parametrize("expected", [0, 6, 8, 2**63 - 1])
@pytest.mark.parametrize("command_type", VERSIONED)
def test_any_other_version_is_refused(command_type, expected):
    """Version 0 is a version: it is not the same as none expected."""
    asked = scene(command_type)
    asked.fields["expectedVersion"] = expected

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.details == {"walletId": SOURCE, "expected": expected, "actual": 7}


@pytest.mark.parametrize("command_type", COMMAND_TYPES)
def test_deciding_changes_nothing(command_type):
    """A decision is only said; `evolve` makes the wallet after it."""
    asked = scene(command_type)
    wallets, holds = dict(asked.wallets), dict(asked.holds)

    asked.decide()

    assert (asked.wallets, asked.holds) == (wallets, holds)


@pytest.mark.parametrize("command_type", COMMAND_TYPES)
def test_a_command_names_its_wallets_the_source_first_and_its_hold(command_type):
    """What is locked and fetched for it; both wallets of what goes from one to the other."""
    command = scene(command_type).command()

    assert wallet_ids(command) == ((SOURCE, TARGET) if command_type in ("Transfer", "CaptureHold") else (SOURCE,))
    assert hold_ids(command) == ((HOLD,) if "Hold" in command_type else ())


@pytest.mark.parametrize("command_type", ["Transfer", "CaptureHold"])
def test_what_goes_to_itself_names_one_wallet(command_type):
    """Each wallet is named once."""
    asked = scene(command_type)
    asked.fields["toWalletId"] = SOURCE

    assert wallet_ids(asked.command()) == (SOURCE,)


@pytest.mark.parametrize("command_type", COMMAND_TYPES)
def test_a_clock_that_was_set_back_refuses_nothing(command_type):
    """A wallet whose last event is of tomorrow takes commands like any other."""
    asked = scene(command_type)
    asked.change(SOURCE, updated_at=NOW + timedelta(days=1))

    assert asked.decide() == FACTS[command_type]

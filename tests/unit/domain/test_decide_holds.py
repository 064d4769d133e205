"""Deciding what reserves money and what becomes of it: whose hold, in which state, at which instant, how much."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.unit.domain.scenes import (
    HOLD,
    JUST_AFTER,
    JUST_BEFORE,
    NOW,
    SOURCE,
    TARGET,
    TEN,
    Scene,
    hold,
    scene,
)
from tests.unit.domain.test_decide import FACTS
from worker.contracts.money import BALANCE_MAX, ZERO
from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.domain.facts import HoldCaptured, HoldPlaced
from worker.domain.rejections import Rejected

HOLD_COMMANDS = ("ReleaseHold", "CaptureHold", "ExpireHold")
ENDED = (HoldStatus.RELEASED, HoldStatus.CAPTURED, HoldStatus.EXPIRED)


def refusal(asked: Scene) -> tuple[str, dict[str, str | int]]:
    decision = asked.decide()
    assert isinstance(decision, Rejected)
    return decision.code, dict(decision.details)


def capture(**fields: str) -> Scene:
    """A capture of the hold of 10 that pays nobody here."""
    asked = scene("CaptureHold")
    del asked.fields["toWalletId"]
    asked.fields |= fields
    return asked


def test_a_hold_is_as_its_sender_asked():
    """Type, time, reference and metadata are the hold's; the metadata as JSON text."""
    asked = scene("PlaceHold")
    asked.fields |= {"holdType": "ESCROW", "reference": "r", "metadata": {"z": 1, "a": "é"}}
    asked.fields["expiresAt"] = "2026-11-22T13:00:01+01:00"

    (placed,) = asked.decide()

    expires_at = NOW + timedelta(seconds=1)
    assert placed == HoldPlaced(SOURCE, HOLD, TEN, HoldType.ESCROW, "r", '{"z":1,"a":"é"}', expires_at)


@pytest.mark.parametrize(("amount", "passes"), [("79.9999", True), ("80.0000", True), ("80.0001", False)])
def test_what_is_available_can_be_reserved_and_no_more(amount, passes):
    """Available is the balance less what is held: 100 less 20."""
    asked = scene("PlaceHold")
    asked.fields["amount"] = amount

    assert isinstance(asked.decide(), tuple) == passes


@pytest.mark.parametrize("status", list(HoldStatus))
@pytest.mark.parametrize("owner", [SOURCE, TARGET], ids=["own", "another wallet's"])
def test_a_hold_id_is_used_once_in_any_wallet(owner, status):
    """Ended or not, here or elsewhere: and it is not told where."""
    asked = scene("PlaceHold")
    asked.holds[HOLD] = hold(owner, status=status)

    assert refusal(asked) == ("HoldAlreadyExists", {"walletId": SOURCE, "holdId": HOLD})


@pytest.mark.parametrize("command_type", HOLD_COMMANDS)
def test_a_hold_of_another_wallet_is_not_found(command_type):
    """Also where it is that of the wallet which is to be paid."""
    asked = scene(command_type)
    asked.change_hold(wallet_id=TARGET)

    assert refusal(asked) == ("HoldNotFound", {"walletId": SOURCE, "holdId": HOLD})


@pytest.mark.parametrize(("expires_at", "passes"), [(JUST_BEFORE, False), (NOW, True), (JUST_AFTER, True)])
def test_a_hold_whose_time_has_passed_cannot_be_placed(expires_at, passes):
    """At that very instant it has not passed."""
    asked = scene("PlaceHold")
    asked.fields["expiresAt"] = expires_at.isoformat()

    assert isinstance(asked.decide(), tuple) == passes


@pytest.mark.parametrize(
    ("expires_at", "captured", "expired"),
    [
        (JUST_BEFORE, "HoldExpired", "passes"),
        (NOW, "passes", "passes"),
        (JUST_AFTER, "passes", "HoldNotDue"),
        (None, "passes", "HoldNotDue"),
    ],
    ids=["after it", "at it", "before it", "never"],
)
def test_at_the_very_instant_of_its_end_a_hold_is_captured_and_expires_alike(expires_at, captured, expired):
    """Later no capture passes, earlier no expiry; a release always does."""
    told = []
    for command_type in ("CaptureHold", "ExpireHold", "ReleaseHold"):
        asked = scene(command_type)
        asked.change_hold(expires_at=expires_at)
        decision = asked.decide()
        told.append(decision.code if isinstance(decision, Rejected) else "passes")

    assert told == [captured, expired, "passes"]


def test_a_hold_without_an_end_is_never_due_and_says_none():
    """The details have no `expiresAt` to wait for."""
    asked = scene("ExpireHold")
    asked.change_hold(expires_at=None)

    assert refusal(asked) == (
        "HoldNotDue",
        {"walletId": SOURCE, "holdId": HOLD, "now": "2026-11-22T12:00:00.000000Z"},
    )


@pytest.mark.parametrize("expires_at", [JUST_BEFORE, JUST_AFTER, None])
@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("command_type", HOLD_COMMANDS)
def test_an_ended_hold_stays_as_it_ended(command_type, status, expires_at):
    """Capture or release of an expired one is `HoldExpired`, of any other ended one `HoldNotActive`, at any time."""
    asked = scene(command_type)
    asked.change_hold(status=status, expires_at=expires_at)

    code, details = refusal(asked)

    expected = status is HoldStatus.EXPIRED and command_type != "ExpireHold"
    assert code == ("HoldExpired" if expected else "HoldNotActive")
    assert (details["walletId"], details["holdId"]) == (SOURCE, HOLD)


@pytest.mark.parametrize(
    ("amount", "captured", "released"),
    [(None, "10.0000", "0.0000"), ("10", "10.0000", "0.0000"), ("0.0001", "0.0001", "9.9999")],
    ids=["all", "all by its amount", "a part"],
)
def test_what_is_not_captured_is_given_free_in_the_same_step(amount, captured, released):
    """All of the hold where nothing is said."""
    asked = capture(**({} if amount is None else {"amount": amount}))

    assert asked.decide() == (HoldCaptured(SOURCE, HOLD, Decimal(captured), Decimal(released)),)


def test_a_part_of_a_hold_is_paid_into_another_wallet():
    """Only what is captured arrives there."""
    asked = scene("CaptureHold")
    asked.fields["amount"] = "4"

    captured, credited = asked.decide()

    assert captured == HoldCaptured(SOURCE, HOLD, Decimal("4.0000"), Decimal("6.0000"), TARGET)
    assert (credited.wallet_id, credited.amount, credited.counterparty_wallet_id) == (TARGET, 4, SOURCE)


def test_a_capture_of_nearly_more_than_a_balance_may_have_counts_what_is_captured():
    """The limit is the receiver's, and the amount is the captured one, not the hold's."""
    asked = scene("CaptureHold")
    asked.change(TARGET, balance=BALANCE_MAX - 4, held_balance=ZERO)
    asked.fields["amount"] = "4"

    assert isinstance(asked.decide(), tuple)
    asked.fields["amount"] = "4.0001"
    assert refusal(asked)[0] == "BalanceLimitExceeded"


def test_a_capture_needs_no_available_money():
    """What it pays was reserved."""
    asked = capture()
    asked.change(SOURCE, balance=TEN, held_balance=TEN)

    assert asked.decide() == (HoldCaptured(SOURCE, HOLD, TEN, ZERO),)


@pytest.mark.parametrize("command_type", ["ReleaseHold", "ExpireHold"])
def test_a_suspended_wallet_gives_reserved_money_free(command_type):
    """A suspended wallet takes releases and expiries."""
    asked = scene(command_type)
    asked.change(SOURCE, status=WalletStatus.SUSPENDED)

    assert asked.decide() == FACTS[command_type]


@pytest.mark.parametrize("status", [WalletStatus.SUSPENDED, WalletStatus.CLOSED])
@pytest.mark.parametrize("command_type", ["PlaceHold", "CaptureHold"])
def test_a_wallet_that_is_not_active_places_and_captures_no_hold(command_type, status):
    """No money leaves it, and none is reserved."""
    asked = scene(command_type)
    asked.change(SOURCE, status=status)

    assert refusal(asked) == ("WalletNotActive", {"walletId": SOURCE, "status": status.value})


def test_a_suspended_wallet_receives_a_capture():
    """As it receives a transfer."""
    asked = scene("CaptureHold")
    asked.change(TARGET, status=WalletStatus.SUSPENDED)

    assert asked.decide() == FACTS["CaptureHold"]

"""Groups: all parts happen or none, each sees what the ones before did, and it is told which one refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.domain.scenes import (
    COMMAND_ID,
    HOLD,
    JUST_BEFORE,
    NOW,
    SOURCE,
    TARGET,
    TEN,
    Scene,
    hold,
    scene,
    wallet,
)
from tests.unit.domain.test_decide import EACH_PAIR
from worker.contracts.commands import Atomic
from worker.contracts.status import HoldStatus, HoldType
from worker.domain.decide import hold_ids, wallet_ids
from worker.domain.facts import HoldCaptured, HoldPlaced, WalletCreated, WalletCredited, WalletDebited
from worker.domain.group import Group, decide_group

NEW = "7a7d2c7e-5e0b-4d7c-8f5e-1b2c3d4e5f60"


def debit(amount: str = "10", **fields: Any) -> dict[str, Any]:
    return {"type": "DebitWallet", "walletId": SOURCE, "amount": amount, **fields}


def place(amount: str = "10", **fields: Any) -> dict[str, Any]:
    return {"type": "PlaceHold", "walletId": SOURCE, "holdId": HOLD, "amount": amount, **fields}


def capture(**fields: Any) -> dict[str, Any]:
    return {"type": "CaptureHold", "walletId": SOURCE, "holdId": HOLD, **fields}


def create(wallet_id: str = NEW, **fields: Any) -> dict[str, Any]:
    return {"type": "CreateWallet", "walletId": wallet_id, "ownerId": "o", **fields}


def asked_for(*parts: dict[str, Any], **fields: Any) -> Scene:
    """A group of these parts, on two wallets with 80 available each."""
    fields = {"commandId": COMMAND_ID, "type": "Atomic", "commands": list(parts), **fields}
    return Scene(fields, {SOURCE: wallet(SOURCE), TARGET: wallet(TARGET)})


def atomic(asked: Scene) -> Atomic:
    command = asked.command()
    assert isinstance(command, Atomic)
    return command


def decide(asked: Scene) -> Group:
    return decide_group(atomic(asked), asked.book(), NOW)


def told(group: Group) -> list[str]:
    """What each part is told."""
    return [
        "notRun" if not part.ran else part.rejected.code if part.rejected is not None else "accepted"
        for part in group.parts
    ]


def test_a_group_that_passes_gives_all_its_facts_in_order():
    """The seed's debit with a hold in one transaction."""
    group = decide(asked_for(debit("30"), place("50")))

    assert group.rejected is None
    assert [part.facts for part in group.parts] == [
        (WalletDebited(SOURCE, Decimal("30.0000")),),
        (HoldPlaced(SOURCE, HOLD, Decimal("50.0000"), HoldType.PAYMENT, None, None, None),),
    ]


def test_each_part_sees_what_the_ones_before_did():
    """A wallet that is opened, filled and drawn from; a hold that is placed and captured."""
    group = decide(
        asked_for(
            create(initialBalance="5"),
            {"type": "Transfer", "fromWalletId": SOURCE, "toWalletId": NEW, "amount": "80", "expectedVersion": 7},
            {"type": "PlaceHold", "walletId": NEW, "holdId": HOLD, "amount": "85", "expectedVersion": 1},
            {"type": "CaptureHold", "walletId": NEW, "holdId": HOLD, "toWalletId": SOURCE, "amount": "85"},
            {"type": "CloseWallet", "walletId": NEW, "expectedVersion": 3},
        )
    )

    assert told(group) == ["accepted"] * 5
    assert [len(part.facts) for part in group.parts] == [1, 2, 1, 2, 1]
    assert [part.hold and part.hold.status for part in group.parts] == [
        None,
        None,
        HoldStatus.ACTIVE,
        HoldStatus.CAPTURED,
        None,
    ]


def test_the_first_refusal_refuses_all():
    """The error is that of the part that refused, with its index; the parts behind it were not run."""
    group = decide(asked_for(debit("30"), debit("50.0001"), debit("1")))

    assert told(group) == ["accepted", "InsufficientFunds", "notRun"]
    assert all(part.facts == () for part in group.parts)
    assert group.rejected is not None
    assert group.rejected.code == "InsufficientFunds"
    assert group.rejected.details == {
        "walletId": SOURCE,
        "available": "50.0000",
        "held": "20.0000",
        "requested": "50.0001",
        "index": 1,
    }
    refused = group.parts[1].rejected
    assert refused is not None
    assert {**refused.details, "index": 1} == group.rejected.details


def test_a_refused_group_shows_the_holds_as_they_are():
    """A hold that its parts would have placed is not there; one that they would have captured is active."""
    placing = decide(asked_for(place("10"), capture(amount="11"), capture()))
    capturing = asked_for(capture(), place("10"), debit())
    capturing.holds[HOLD] = hold()
    refused = decide(capturing)

    assert told(placing) == ["accepted", "CaptureExceedsHold", "notRun"]
    assert [part.hold for part in placing.parts] == [None, None, None]
    assert told(refused) == ["accepted", "HoldAlreadyExists", "notRun"]
    assert [part.hold for part in refused.parts] == [hold(), hold(), None]


def test_a_group_that_comes_too_late_is_not_run_at_all():
    """No part refused, so no index is told."""
    group = decide(asked_for(debit(), debit(), notAfter=JUST_BEFORE.isoformat()))

    assert told(group) == ["notRun", "notRun"]
    assert group.rejected is not None
    assert (group.rejected.code, "index" in group.rejected.details) == ("CommandExpired", False)


def test_at_the_very_instant_of_not_after_a_group_still_runs():
    """As any command does."""
    assert told(decide(asked_for(debit(), debit(), notAfter=NOW.isoformat()))) == ["accepted", "accepted"]


def test_the_version_that_a_part_expects_is_that_of_its_turn():
    """Not that before the group."""
    passes = decide(asked_for(debit("1", expectedVersion=7), debit("1", expectedVersion=8)))
    refused = decide(asked_for(debit("1", expectedVersion=7), debit("1", expectedVersion=7)))

    assert told(passes) == ["accepted", "accepted"]
    assert told(refused) == ["accepted", "EventConcurrency"]


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "Transfer", "fromWalletId": SOURCE, "toWalletId": SOURCE, "amount": "1"}, "SameWallet"),
        ({"type": "Transfer", "fromWalletId": SOURCE, "toWalletId": NEW, "amount": "1"}, "WalletNotFound"),
        (create(SOURCE), "WalletAlreadyExists"),
        (debit(currency="EUR"), "CurrencyMismatch"),
        (capture(), "HoldNotFound"),
        (place(expiresAt=JUST_BEFORE.isoformat()), "HoldExpired"),
        ({"type": "CloseWallet", "walletId": SOURCE}, "WalletNotEmpty"),
    ],
)
def test_a_part_is_refused_as_the_command_would_be(part, code):
    """The same rules in the same order."""
    group = decide(asked_for(debit(), part, debit()))

    assert told(group) == ["accepted", code, "notRun"]


@pytest.mark.parametrize(
    ("command_type", "first", "second"), [pair for pair in EACH_PAIR if pair.values[1].code != "CommandExpired"]
)
def test_of_two_reasons_a_part_is_told_the_first_in_the_order_of_refusal(command_type, first, second):
    """The order within a group is that of commands by themselves."""
    asked = scene(command_type)
    for reason in (second, first):
        reason.apply(asked)
    asked.wallets[NEW] = wallet(NEW)
    part = {name: value for name, value in asked.fields.items() if name != "commandId"}
    credit = {"type": "CreditWallet", "walletId": NEW, "amount": "1"}
    fields = {"commandId": COMMAND_ID, "type": "Atomic", "commands": [credit, part]}

    group = decide(Scene(fields, asked.wallets, asked.holds, asked.quarantined))

    assert told(group) == ["accepted", first.code]
    assert group.rejected is not None
    details = group.rejected.details
    assert (details.get("walletId"), details["index"]) == (first.details.get("walletId"), 1)


def test_a_part_in_which_nothing_happens_is_accepted():
    """A suspension that stands already, among others."""
    suspend = {"type": "SuspendWallet", "walletId": SOURCE}

    group = decide(asked_for(suspend, suspend, {"type": "CreditWallet", "walletId": SOURCE, "amount": "1"}))

    assert told(group) == ["accepted"] * 3
    assert [len(part.facts) for part in group.parts] == [1, 0, 1]


def test_deciding_a_group_changes_nothing_accepted_or_refused():
    """The book stays as it is until the facts are folded into it."""
    asked = asked_for(debit(), place(), capture(toWalletId=TARGET), create())
    before = dict(asked.wallets), dict(asked.holds)

    decide(asked)
    asked.fields["commands"].append(debit("1000"))
    decide(asked)

    assert (asked.wallets, asked.holds) == before


def test_a_part_without_its_own_reference_and_metadata_has_the_groups():
    """Its own count where it has some; what is a wallet's metadata is never the group's."""
    group = decide(
        asked_for(
            place(),
            debit(reference="own", metadata={}),
            create(),
            {"type": "UpdateMetadata", "walletId": SOURCE, "metadata": {"a": 1}},
            reference="group",
            metadata={"order": 1},
        )
    )

    placed, paid, created, described = group.parts
    assert placed.facts == (HoldPlaced(SOURCE, HOLD, TEN, HoldType.PAYMENT, "group", '{"order":1}', None),)
    assert [(part.part.reference, part.part.metadata) for part in (paid, created, described)] == [
        ("own", {}),
        ("group", None),
        ("group", {"a": 1}),
    ]
    assert created.facts == (WalletCreated(NEW, "o", "USD", Decimal("0.0000"), "{}"),)


def test_a_group_names_what_all_its_parts_name():
    """Each wallet once, in the order of their first mention."""
    command = atomic(
        asked_for(debit(), {"type": "Transfer", "fromWalletId": TARGET, "toWalletId": SOURCE, "amount": "1"}, place())
    )

    assert wallet_ids(command) == (SOURCE, TARGET)
    assert hold_ids(command) == (HOLD,)


def test_a_capture_within_a_group_pays_the_wallet_that_it_names():
    """Two facts of one part, side by side."""
    group = decide(asked_for(place("10"), capture(amount="4", toWalletId=TARGET)))

    assert group.parts[1].facts == (
        HoldCaptured(SOURCE, HOLD, Decimal("4.0000"), Decimal("6.0000"), TARGET),
        WalletCredited(TARGET, Decimal("4.0000"), SOURCE),
    )

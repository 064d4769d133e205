"""Deciding what happens to a wallet itself: suspended, reactivated, closed, described."""

from __future__ import annotations

import json
from copy import deepcopy
from decimal import Decimal

import pytest

from tests.unit.domain.scenes import SOURCE, scene
from tests.unit.domain.test_decide import FACTS
from worker.contracts.status import WalletStatus
from worker.domain.facts import WalletMetadataUpdated, WalletReactivated, WalletSuspended
from worker.domain.merge_patch import merge_patch
from worker.domain.rejections import Rejected


@pytest.mark.parametrize(
    ("command_type", "status"),
    [("SuspendWallet", WalletStatus.SUSPENDED), ("ReactivateWallet", WalletStatus.ACTIVE)],
)
def test_what_is_so_already_is_accepted_and_nothing_happens(command_type, status):
    """No fact, so no event and no new version."""
    asked = scene(command_type)
    asked.change(SOURCE, status=status)

    assert asked.decide() == ()


@pytest.mark.parametrize("command_type", ["SuspendWallet", "ReactivateWallet"])
def test_where_it_is_so_already_the_expected_version_counts_all_the_same(command_type):
    """Whoever insists on a version learns that it moved, also where nothing would have happened."""
    asked = scene(command_type)
    asked.change(SOURCE, status=WalletStatus.SUSPENDED if command_type == "SuspendWallet" else WalletStatus.ACTIVE)
    asked.fields["expectedVersion"] = 6

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.code == "EventConcurrency"


@pytest.mark.parametrize(
    ("command_type", "fact"),
    [("SuspendWallet", WalletSuspended(SOURCE, "fraud")), ("ReactivateWallet", WalletReactivated(SOURCE, "fraud"))],
)
def test_a_reason_is_kept_with_the_fact(command_type, fact):
    """As its sender wrote it."""
    asked = scene(command_type)
    asked.fields["reason"] = "fraud"

    assert asked.decide() == (fact,)


@pytest.mark.parametrize("command_type", ["CloseWallet", "UpdateMetadata"])
def test_a_suspended_wallet_may_be_closed_and_described(command_type):
    """No money moves by it."""
    asked = scene(command_type)
    asked.change(SOURCE, status=WalletStatus.SUSPENDED)

    assert asked.decide() == FACTS[command_type]


def test_a_wallet_all_of_whose_money_is_reserved_is_not_empty():
    """The details say what is left, and how much of it is held."""
    asked = scene("CloseWallet")
    asked.change(SOURCE, balance=Decimal("0.0001"), held_balance=Decimal("0.0001"))

    decision = asked.decide()

    assert isinstance(decision, Rejected)
    assert decision.details == {"walletId": SOURCE, "balance": "0.0001", "held": "0.0001"}


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 3, "c": 4}, {"a": 3, "b": 2, "c": 4}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"never there": None}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": {"b": {"c": 1}, "d": 1}}, {"a": {"b": {"c": None}}}, {"a": {"b": {}, "d": 1}}),
        ({"a": 1}, {"a": {"b": None, "c": {"d": None}}}, {"a": {"c": {}}}),
        ({"a": [1, 2]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": [None, {"c": None}]}, {"a": [None, {"c": None}]}),
        ({"a": None, "b": {"c": None}}, {"b": {"d": 2}}, {"a": None, "b": {"c": None, "d": 2}}),
    ],
    ids=[
        "nothing",
        "nothing new",
        "merged",
        "removed",
        "removed in vain",
        "inside",
        "deep inside",
        "an object for a number",
        "an object for a list",
        "a list for an object",
        "older nulls",
    ],
)
def test_metadata_is_merged_as_a_json_merge_patch(before, patch, after):
    """A null removes its key, in objects too; a list is replaced as a whole, and a null that was there stays."""
    asked = scene("UpdateMetadata")
    asked.change(SOURCE, metadata=json.dumps(before))
    asked.fields["metadata"] = patch

    (updated,) = asked.decide()

    assert isinstance(updated, WalletMetadataUpdated)
    assert list(json.loads(updated.metadata).items()) == list(after.items())


RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_the_examples_of_rfc_7396_come_out(target, patch, result):
    """Its appendix A, where the patch is an object; what was there before is left alone."""
    before = deepcopy(target)

    assert merge_patch(target, patch) == result
    assert target == before


@pytest.mark.parametrize(("length", "passes"), [(8172, True), (8173, False)])
def test_metadata_reaches_8_kib_after_merging_and_no_more(length, passes):
    """Counted in bytes of compact JSON."""
    asked = scene("UpdateMetadata")
    asked.change(SOURCE, metadata=json.dumps({"note": "x" * length}))

    assert isinstance(asked.decide(), tuple) == passes


def test_metadata_that_shrinks_is_counted_after_merging():
    """What is removed makes room for what comes."""
    asked = scene("UpdateMetadata")
    asked.change(SOURCE, metadata=json.dumps({"old": "x" * 8000}))
    asked.fields["metadata"] = {"old": None, "new": "é" * 4000}

    assert asked.decide() == (WalletMetadataUpdated(SOURCE, '{"new":"' + "é" * 4000 + '"}'),)

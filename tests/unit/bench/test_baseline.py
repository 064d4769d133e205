"""The baseline decides as the worker does: what is compared must be the same work."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from bench.baseline.app import COMMAND, Refused, decide
from bench.commands import credits_to, new_ids, openings, transfers
from bench.floor import prepare

CHANCE = random.Random(1)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
COMPARED = ("wallet_id", "version", "event_id", "event_type", "amount", "balance", "counterparty_wallet_id")


def test_the_baseline_makes_the_workers_entries():
    """Its rows and events are the worker's: the same ids, versions, amounts and balances."""
    ids = new_ids(3, CHANCE)
    commands = [*openings(ids, CHANCE), *transfers(20, ids, CHANCE), *credits_to(5, ids[:1], CHANCE)]

    wallets = {}
    made = [decide(COMMAND.validate_json(command.value), wallets, NOW) for command in commands]

    expected = [entry for decided in prepare(commands, 1, {}) for entry in decided.outcomes[0].entries]
    entries = [entry for events in made for entry, _ in events]
    assert [_compared(entry) for entry in entries] == [_compared(entry) for entry in expected]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ('"fromWalletId":"{0}","toWalletId":"{0}","amount":"1"', "SameWallet"),
        ('"fromWalletId":"{0}","toWalletId":"{2}","amount":"1"', "WalletNotFound"),
        ('"fromWalletId":"{0}","toWalletId":"{1}","amount":"1","currency":"EUR"', "CurrencyMismatch"),
        ('"fromWalletId":"{0}","toWalletId":"{1}","amount":"1000000000.0001"', "InsufficientFunds"),
    ],
)
def test_the_baseline_refuses_what_may_not_be(fields, code):
    """A refusal changes no wallet, whichever of the two it is about."""
    ids, wallets = new_ids(3, CHANCE), {}
    for opening in openings(ids[:2], CHANCE):
        decide(COMMAND.validate_json(opening.value), wallets, NOW)
    text = f'{{"commandId":"{new_ids(1, CHANCE)[0]}","type":"Transfer",{fields.format(*ids)}}}'

    with pytest.raises(Refused) as refused:
        decide(COMMAND.validate_json(text), wallets, NOW)

    assert refused.value.error["code"] == code
    assert {wallet.version for wallet in wallets.values()} == {0}


def _compared(entry):
    # Ids are text there and UUIDs here.
    return {name: str(getattr(entry, name)) for name in COMPARED}

"""Deciding in memory: whatever the commands, no money appears, and a batch is no more than its commands one by one."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.commands import Command
from tests.support.received import received
from worker.contracts.money import BALANCE_MAX
from worker.domain.decide import wallet_ids
from worker.domain.wallet import Wallet
from worker.ledger.decide_batch import Decided, Outcome, Received, decide_batch
from worker.ledger.recall import Ran

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WALLETS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)]
TIMES = {"processedAt", "occurredAt", "createdAt"}

wallet = st.sampled_from(WALLETS)
# The usual, the smallest and the largest; seldom a currency or a version, since most of those are refused.
amounts = st.sampled_from(["1", "2.5", "40", "0.0001", "100000000000000"])
versions = st.sampled_from([*[None] * 6, 0, 1, 2])
currencies = st.sampled_from([*[None] * 4, "USD", "EUR"])


def _command(type_: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    return st.fixed_dictionaries({"type": st.just(type_), **fields})


movement = {"walletId": wallet, "amount": amounts, "currency": currencies, "expectedVersion": versions}
new = {"walletId": wallet, "ownerId": st.just("o"), "currency": st.sampled_from(["USD", "USD", "EUR"])}
transfers = st.tuples(st.permutations(WALLETS), _command("Transfer", amount=amounts, expectedVersion=versions)).map(
    lambda drawn: {**drawn[1], "fromWalletId": drawn[0][0], "toWalletId": drawn[0][1]}
)
commands = st.one_of(
    _command("CreditWallet", **movement),
    _command("DebitWallet", **movement),
    transfers,
    transfers,
    _command("CreateWallet", **new, initialBalance=st.just("0") | amounts),
)


@st.composite
def batches(draw: st.DrawFn) -> list[Received]:
    """Commands in some order, mostly on wallets that are there; some come again, some under another's id."""
    opened = [
        {"type": "CreateWallet", "walletId": id_, "ownerId": "o", "initialBalance": "50"}
        for id_ in WALLETS[: draw(st.sampled_from([4, 3, 2, 0]))]
    ]
    sent = opened + draw(st.lists(commands, max_size=25))
    ids = list(range(len(sent)))
    for position in draw(st.lists(st.integers(0, 30), max_size=4)):
        if position + 1 < len(ids):
            ids[position + 1] = ids[position // 2]
    batch = [{"commandId": f"00000000-0000-4000-9000-{n:012}", **one} for n, one in zip(ids, sent, strict=True)]
    for position in draw(st.lists(st.integers(0, 30), max_size=8)):
        if batch:
            batch.insert(position, batch[position % len(batch)])
    return [received(command) for command in batch]


def decide_all(batch: Sequence[Received]) -> Decided:
    return decide_batch(batch, {}, {}, NOON)


def decide_in_parts(batch: Sequence[Received], cuts: Sequence[int]) -> list[Outcome]:
    """Decide each part as a transaction would: with the wallets it names, and what is known of its commands."""
    wallets: dict[str, Wallet] = {}
    ran: dict[str, Ran] = {}
    outcomes: list[Outcome] = []
    borders = [0, *sorted(cuts), len(batch)]
    for number, (start, end) in enumerate(pairwise(borders)):
        part = batch[start:end]
        named = {id_ for one in part for id_ in wallet_ids(one.command)}
        known = {one.command.command_id for one in part}
        decided = decide_batch(
            part,
            {id_: wallets[id_] for id_ in named & wallets.keys()},
            {id_: ran[id_] for id_ in known & ran.keys()},
            NOON + timedelta(seconds=number),
        )
        outcomes += decided.outcomes
        wallets |= decided.wallets
        ran |= decided.ran
    return outcomes


def timeless(outcome: Outcome) -> tuple[Any, ...]:
    """All of an outcome but its times."""
    return (
        outcome.error_code,
        _without_times(outcome.reply),
        outcome.replayed,
        outcome.made,
        [entry._replace(occurred_at=NOON) for entry in outcome.entries],
        [(*event_[:4], _without_times(event_.data), event_.properties) for event_ in outcome.events],
        outcome.recorded and (outcome.recorded[:7], _without_times(outcome.recorded.reply.encode())),
    )


def _without_times(raw: bytes) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in json.loads(raw).items() if name not in TIMES]


@settings(deadline=None, max_examples=200)
@given(batches())
def test_no_money_appears_or_vanishes(batch):
    """Currency by currency, what the wallets hold is what was paid in less what was paid out; transfers move it."""
    decided = decide_all(batch)

    paid: dict[str, Decimal] = defaultdict(Decimal)
    for one, outcome in zip(batch, decided.outcomes, strict=True):
        command = one.command
        if outcome.error_code is None and not outcome.replayed:
            event(command.type)
            for entry in outcome.entries if command.type != "Transfer" else ():
                sign = -1 if command.type == "DebitWallet" else 1
                money = command.initial_balance if command.type == "CreateWallet" else command.amount
                paid[decided.wallets[entry.wallet_id].currency] += sign * money
    held: dict[str, Decimal] = defaultdict(Decimal)
    for one in decided.wallets.values():
        held[one.currency] += one.balance
    assert {currency: held[currency] for currency in held | paid} == {
        currency: paid[currency] for currency in held | paid
    }


@settings(deadline=None, max_examples=200)
@given(batches())
def test_no_balance_leaves_its_bounds_at_any_moment(batch):
    """Not after any event, and not in between two commands of a batch."""
    decided = decide_all(batch)

    entries = [entry for outcome in decided.outcomes for entry in outcome.entries]
    assert all(0 <= entry.balance - entry.held_balance <= entry.balance <= BALANCE_MAX for entry in entries)


@settings(deadline=None, max_examples=200)
@given(batches())
def test_a_wallets_version_is_the_number_of_its_events_less_one(batch):
    """Each stream's revisions are 0..version without a gap, in order, and `WalletCreated` is the first."""
    decided = decide_all(batch)

    streams: dict[str, list[Any]] = defaultdict(list)
    for outcome in decided.outcomes:
        assert outcome.made == () if not outcome.replayed else outcome.entries == ()
        for entry, appended in zip(outcome.entries, outcome.events, strict=True):
            assert (entry.wallet_id, entry.version, entry.event_id) == appended[:3]
            streams[entry.wallet_id].append(entry)
    assert streams.keys() == decided.wallets.keys()
    for id_, entries in streams.items():
        assert [entry.version for entry in entries] == list(range(decided.wallets[id_].version + 1))
        assert [entry.event_type for entry in entries].count("WalletCreated") == 1
        assert entries[0].event_type == "WalletCreated"
        assert entries[-1].balance == decided.wallets[id_].balance


@settings(deadline=None, max_examples=200)
@given(batches())
def test_a_command_takes_effect_once_however_often_it_comes(batch):
    """The first decides; the same again gets its reply, byte for byte; another under its id gets a conflict."""
    decided = decide_all(batch)

    first: dict[str, tuple[Received, Outcome]] = {}
    for one, outcome in zip(batch, decided.outcomes, strict=True):
        id_ = one.command.command_id
        if id_ not in first:
            first[id_] = (one, outcome)
            assert not outcome.replayed
            assert outcome.recorded is not None
            continue
        before, told = first[id_]
        assert (outcome.entries, outcome.events, outcome.recorded) == ((), (), None)
        if one.fingerprint == before.fingerprint:
            event("repeated")
            assert outcome.replayed
            assert outcome.reply == told.reply
            assert outcome.error_code == told.error_code
            assert outcome.made == tuple((entry.wallet_id, entry.version) for entry in told.entries)
        else:
            event("another payload")
            assert outcome.error_code == "IdempotencyConflict"
            assert not outcome.replayed
    ids = Counter(appended.event_id for outcome in decided.outcomes for appended in outcome.events)
    assert all(count == 1 for count in ids.values())


@settings(deadline=None, max_examples=200)
@given(batches(), st.data())
def test_a_batch_in_any_parts_is_the_same_batch(batch, data):
    """One by one or all at once: the same replies, entries and events, but for their times."""
    cuts = data.draw(st.lists(st.integers(0, len(batch)), max_size=6))

    at_once = [timeless(outcome) for outcome in decide_all(batch).outcomes]

    assert [timeless(outcome) for outcome in decide_in_parts(batch, cuts)] == at_once
    assert [timeless(outcome) for outcome in decide_in_parts(batch, range(1, len(batch)))] == at_once

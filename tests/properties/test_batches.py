"""Whatever the commands, no money appears, and a batch is no more than its commands one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.commands import Command
from tests.support.memory_ledger import MemoryLedger
from tests.support.received import received
from tests.support.strategies import NOON, stories
from worker.audit.fold import fold
from worker.contracts.commands import Atomic, CaptureHoldPart, CreateWalletPart, CreditWalletPart, DebitWalletPart, Part
from worker.contracts.commands import Command as ReadCommand
from worker.domain.decide import wallet_ids
from worker.domain.wallet import Wallet
from worker.ledger.decide_batch import Outcome, Received


def batches() -> st.SearchStrategy[list[Received]]:
    """Stories, as the inbox hands them on."""
    return stories().map(lambda story: [received(command) for command in story])


def decide_all(batch: Sequence[Received]) -> tuple[MemoryLedger, list[Outcome]]:
    ledger = MemoryLedger()
    return ledger, ledger.run(batch, NOON)


def decide_in_parts(batch: Sequence[Received], cuts: Sequence[int]) -> list[Outcome]:
    """Decide each part as a transaction of its own, at the same time."""
    ledger = MemoryLedger()
    borders = [0, *sorted(cuts), len(batch)]
    return [outcome for start, end in pairwise(borders) for outcome in ledger.run(batch[start:end], NOON)]


@settings(deadline=None, max_examples=200)
@given(batches())
def test_money_holds_and_versions_add_up(batch):
    """No money appears or vanishes, each hold is reserved, no balance leaves its bounds, no revision is left out."""
    ledger, outcomes = decide_all(batch)

    for one, outcome in zip(batch, outcomes, strict=True):
        if outcome.error_code is None and not outcome.replayed:
            event(one.command.type)
        assert outcome.made == () if not outcome.replayed else outcome.entries == ()
        assert [(e.wallet_id, e.version, e.event_id) for e in outcome.entries] == [e[:3] for e in outcome.events]
    ledger.check()


@settings(deadline=None, max_examples=200)
@given(batches())
def test_all_balances_are_all_credits_less_all_debits_and_captures_that_left(batch):
    """Money is conserved, currency by currency: by what senders asked for and were told, not by the books."""
    ledger, outcomes = decide_all(batch)

    left = {wallet.currency: Decimal(0) for wallet in ledger.wallets.values()}
    for wallet in ledger.wallets.values():
        left[wallet.currency] += wallet.balance
    for one, outcome in zip(batch, outcomes, strict=True):
        if outcome.error_code is None and not outcome.replayed:
            reply = json.loads(outcome.reply)
            for part, told in zip(parts_of(one.command), reply.get("parts", [reply]), strict=True):
                amount = from_outside(part, told)
                if amount:
                    left[ledger.wallets[wallet_ids(part)[0]].currency] -= amount
    assert not any(left.values())


def parts_of(command: ReadCommand) -> Sequence[ReadCommand | Part]:
    return command.commands if isinstance(command, Atomic) else [command]


def from_outside(part: ReadCommand | Part, told: Command) -> Decimal:
    """What an accepted command brought in, or (negative) took out."""
    match part:
        case CreateWalletPart():
            return part.initial_balance
        case CreditWalletPart():
            return part.amount
        case DebitWalletPart():
            return -part.amount
        case CaptureHoldPart(to_wallet_id=None):
            return -Decimal(told["hold"]["capturedAmount"])
        case _:
            return Decimal(0)


@settings(deadline=None, max_examples=200)
@given(batches())
def test_a_group_happens_as_a_whole_or_not_at_all(batch):
    """Every event of a group says so; a refused one has none, and its reply says which part refused, if one did."""
    _, outcomes = decide_all(batch)

    for one, outcome in zip(batch, outcomes, strict=True):
        group_id = one.command.command_id if one.command.type == "Atomic" else None
        assert {entry.group_id for entry in outcome.entries} <= {group_id}
        if group_id is None or outcome.error_code == "IdempotencyConflict":
            continue
        reply = json.loads(outcome.reply)
        told = [part["status"] for part in reply["parts"]]
        if outcome.error_code is None:
            assert set(told) == {"accepted"}
            continue
        assert outcome.entries == ()
        refused = reply["error"]["details"].get("index", 0)
        first = "notRun" if outcome.error_code == "CommandExpired" else "rejected"
        assert told == ["accepted"] * refused + [first] + ["notRun"] * (len(told) - refused - 1)


@settings(deadline=None, max_examples=100)
@given(batches())
def test_the_ledger_folded_again_comes_to_the_wallets(batch):
    """Entry by entry, by the fold that decided them: what `wallex verify` compares with, for each type of event."""
    ledger, _ = decide_all(batch)

    folded: dict[str, Wallet] = {}
    for entry in ledger.entries:
        row = ledger.wallets[entry.wallet_id]
        folded[entry.wallet_id], differences = fold(folded.get(entry.wallet_id), entry, row)
        assert differences == []
    assert folded == ledger.wallets


@settings(deadline=None, max_examples=200)
@given(batches())
def test_a_command_takes_effect_once_however_often_it_comes(batch):
    """The first decides; the same again gets its reply, byte for byte; another under its id gets a conflict."""
    _, outcomes = decide_all(batch)

    first: dict[str, tuple[Received, Outcome]] = {}
    for one, outcome in zip(batch, outcomes, strict=True):
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
    ids = Counter(appended.event_id for outcome in outcomes for appended in outcome.events)
    assert all(count == 1 for count in ids.values())


@settings(deadline=None, max_examples=200)
@given(batches(), st.data())
def test_a_batch_in_any_parts_is_the_same_batch(batch, data):
    """One by one or all at once: the same replies, entries, events, and rows of commands."""
    cuts = data.draw(st.lists(st.integers(0, len(batch)), max_size=6))

    _, at_once = decide_all(batch)

    assert decide_in_parts(batch, cuts) == at_once
    assert decide_in_parts(batch, range(1, len(batch))) == at_once

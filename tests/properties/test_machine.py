"""Random commands of every type, in batches of random size, against a plain sequential model of wallets."""

from __future__ import annotations

import json

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.commands import Command
from tests.support.memory_ledger import MemoryLedger
from tests.support.model import Model
from tests.support.model_reply import answer, comparable
from tests.support.received import received
from tests.support.strategies import NOON, command_id, commands, openings, pauses

batches = st.lists(commands(), min_size=1, max_size=10)
places = st.integers(0, 10**6)


class Wallets(RuleBasedStateMachine):
    """The worker's decisions beside the model: the same replies, balances, holds and versions, at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.ledger = MemoryLedger()
        self.model = Model()
        self.sent: list[Command] = []
        self.replies: list[bytes] = []

    @initialize(count=st.sampled_from([3, 3, 2]))
    def open_wallets(self, count: int) -> None:
        """Or most of what follows would be refused."""
        self.run(openings(count))

    @rule(batch=batches, pause=pauses)
    def run(self, batch: list[Command], pause: object = None) -> None:
        """Run a batch: each command is answered as the model answers it, one after another."""
        if pause is not None:
            self.now += pause
        self.model.now = self.now
        numbered = [{"commandId": command_id(len(self.sent) + place), **one} for place, one in enumerate(batch)]

        outcomes = self.ledger.run([received(command) for command in numbered], self.now)

        for command, outcome in zip(numbered, outcomes, strict=True):
            expected, reply = answer(self.model, command), comparable(json.loads(outcome.reply))
            assert reply == expected, command
            event(f"{command['type']} {reply.get('error', {}).get('code', 'accepted')}")
        self.sent += numbered
        self.replies += [outcome.reply for outcome in outcomes]

    @precondition(lambda self: self.sent)
    @rule(chosen=st.lists(places, min_size=1, max_size=6))
    def run_again(self, chosen: list[int]) -> None:
        """Commands that ran before get their first replies, byte for byte, and nothing happens."""
        again = [place % len(self.sent) for place in chosen]
        before = len(self.ledger.entries)

        outcomes = self.ledger.run([received(self.sent[place]) for place in again], self.now)

        assert [outcome.reply for outcome in outcomes] == [self.replies[place] for place in again]
        assert all(outcome.replayed for outcome in outcomes)
        assert len(self.ledger.entries) == before

    @invariant()
    def everything_stands_as_in_the_model(self) -> None:
        """Balances, statuses, versions, metadata and holds; and what must hold of any ledger holds."""
        wallets, holds = self.ledger.wallets, self.ledger.holds
        assert {
            id_: (wallet.balance, wallet.held_balance, wallet.status, wallet.version, json.loads(wallet.metadata))
            for id_, wallet in wallets.items()
        } == {
            id_: (wallet.balance, wallet.held, wallet.status, wallet.version, wallet.metadata)
            for id_, wallet in self.model.wallets.items()
        }
        assert {
            id_: (hold.wallet_id, hold.amount, hold.captured_amount, hold.status) for id_, hold in holds.items()
        } == {id_: (hold.wallet_id, hold.amount, hold.captured, hold.status) for id_, hold in self.model.holds.items()}
        self.ledger.check()


test_the_worker_decides_as_the_model_does = Wallets.TestCase
Wallets.TestCase.settings = settings(deadline=None, max_examples=120, stateful_step_count=15)

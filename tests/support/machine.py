"""A Hypothesis state machine: random commands of every type, in batches of random size, beside the sequential model.

Which way the commands go is the test's to say: through the decisions alone, or through the whole worker. The machine
asks the same of both: the model's replies, balances, holds and versions, at each step.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.commands import Command
from tests.support.model import Model, time_of
from tests.support.model_reply import answer, comparable
from tests.support.strategies import command_id, commands, openings, pauses

batches = st.lists(commands(), min_size=1, max_size=10)
places = st.integers(0, 10**6)


class Answered(NamedTuple):
    """A reply's bytes, and whether it is marked as that of a command that had run before."""

    reply: bytes
    replayed: bool


class WalletNow(NamedTuple):
    """A wallet as a store has it; `metadata` parsed."""

    balance: Decimal
    held: Decimal
    status: str
    version: int
    metadata: dict[str, Any]


class HoldNow(NamedTuple):
    """A hold as a store has it."""

    wallet_id: str
    amount: Decimal
    captured: Decimal
    status: str


class Way(Protocol):
    """What commands go through; one for each example, empty at first."""

    def ask(self, command: Command) -> Command:
        """The command as it is sent: ids and times may be this example's own."""

    def run(self, batch: list[Command], pause: timedelta) -> list[Answered]:
        """Send a batch after `pause`, and return the reply to each."""

    def stands(self) -> tuple[dict[str, WalletNow], dict[str, HoldNow]]:
        """The wallets and holds as they are stored, by id."""


class Wallets(RuleBasedStateMachine):
    """A way beside the model."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way
        self.model = Model()
        self.sent: list[Command] = []
        self.replies: list[bytes] = []

    @initialize(count=st.sampled_from([3, 3, 2]))
    def open_wallets(self, count: int) -> None:
        """Or most of what follows would be refused."""
        self.run(openings(count), timedelta())

    @rule(batch=batches, pause=pauses)
    def run(self, batch: list[Command], pause: timedelta) -> None:
        """Run a batch: each command is answered as the model answers it, one after another."""
        asked = [
            self.way.ask({"commandId": command_id(len(self.sent) + n), **command}) for n, command in enumerate(batch)
        ]

        answers = self.way.run(asked, pause)

        for command, (reply, replayed) in zip(asked, answers, strict=True):
            told = json.loads(reply)
            # Decided when the reply says so: the clock is the worker's.
            self.model.now = time_of(told["processedAt"]) or self.model.now
            assert (comparable(told), replayed) == (answer(self.model, command), False), command
            event(f"{command['type']} {told.get('error', {}).get('code', 'accepted')}")
        self.sent += asked
        self.replies += [reply for reply, _ in answers]

    @precondition(lambda self: self.sent)
    @rule(chosen=st.lists(places, min_size=1, max_size=6))
    def run_again(self, chosen: list[int]) -> None:
        """Commands that ran before get their first replies, byte for byte, and nothing happens."""
        again = [place % len(self.sent) for place in chosen]

        answers = self.way.run([self.sent[place] for place in again], timedelta())

        assert answers == [Answered(self.replies[place], replayed=True) for place in again]

    @invariant()
    def everything_stands_as_in_the_model(self) -> None:
        """Balances, statuses, versions, metadata and holds."""
        wallets, holds = self.way.stands()
        assert wallets == {
            id_: WalletNow(wallet.balance, wallet.held, wallet.status, wallet.version, wallet.metadata)
            for id_, wallet in self.model.wallets.items()
        }
        assert holds == {
            id_: HoldNow(hold.wallet_id, hold.amount, hold.captured, hold.status)
            for id_, hold in self.model.holds.items()
        }

"""Random commands of every type, in batches of random size: decided as a plain sequential model decides them."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.commands import Command
from tests.support.machine import Answered, HoldNow, WalletNow, Wallets
from tests.support.memory_ledger import MemoryLedger
from tests.support.received import received
from tests.support.strategies import NOON


class InMemory:
    """The worker's decisions, and nothing else."""

    def __init__(self) -> None:
        self._now = NOON
        self._ledger = MemoryLedger()

    def ask(self, command: Command) -> Command:
        return command

    def run(self, batch: list[Command], pause: timedelta) -> list[Answered]:
        self._now += pause
        outcomes = self._ledger.run([received(command) for command in batch], self._now)
        return [Answered(outcome.reply, outcome.replayed) for outcome in outcomes]

    def stands(self) -> tuple[dict[str, WalletNow], dict[str, HoldNow]]:
        self._ledger.check()
        return {
            id_: WalletNow(
                wallet.balance, wallet.held_balance, wallet.status, wallet.version, json.loads(wallet.metadata)
            )
            for id_, wallet in self._ledger.wallets.items()
        }, {
            id_: HoldNow(hold.wallet_id, hold.amount, hold.captured_amount, hold.status)
            for id_, hold in self._ledger.holds.items()
        }


def test_the_worker_decides_as_the_model_does():
    """The same replies, balances, holds and versions, at each step; and what must hold of any ledger holds."""
    run_state_machine_as_test(
        lambda: Wallets(InMemory()), settings=settings(deadline=None, max_examples=120, stateful_step_count=15)
    )

"""A ledger in memory: what Postgres would keep between two batches, and hand to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from worker.contracts.money import BALANCE_MAX
from worker.contracts.status import HoldStatus
from worker.domain.decide import hold_ids, wallet_ids
from worker.domain.wallet import Book, Hold, Wallet
from worker.ledger.decide_batch import Outcome, Received, decide_batch
from worker.ledger.entry import Entry
from worker.ledger.recall import Ran

PAID_IN = ("WalletCreated", "WalletCredited")
PAID_OUT = ("WalletDebited", "HoldCaptured")


@dataclass
class MemoryLedger:
    """Everything that was decided so far."""

    wallets: dict[str, Wallet] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    ran: dict[str, Ran] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def run(self, batch: Sequence[Received], now: datetime) -> list[Outcome]:
        """Decide `batch` as a transaction would: with what it names alone, and what is known of its commands."""
        wallets = {id_ for one in batch for id_ in wallet_ids(one.command)} & self.wallets.keys()
        holds = {id_ for one in batch for id_ in hold_ids(one.command)} & self.holds.keys()
        known = {one.command.command_id for one in batch} & self.ran.keys()
        locked = Book({id_: self.wallets[id_] for id_ in wallets}, {id_: self.holds[id_] for id_ in holds})
        decided = decide_batch(batch, locked, {id_: self.ran[id_] for id_ in known}, now)
        self.wallets |= decided.wallets
        self.holds |= decided.holds
        self.ran |= decided.ran
        self.entries += [entry for outcome in decided.outcomes for entry in outcome.entries]
        return decided.outcomes

    def check(self) -> None:
        """Money is conserved, what is held is what active holds reserve, and each stream has no gap."""
        self._check_money()
        for wallet in self.wallets.values():
            active = (hold.amount for hold in self.holds.values() if _reserves(hold, wallet))
            assert wallet.held_balance == sum(active, Decimal(0)), wallet
            entries = [entry for entry in self.entries if entry.wallet_id == wallet.id]
            assert [entry.version for entry in entries] == list(range(wallet.version + 1))
            assert [place for place, entry in enumerate(entries) if entry.event_type == "WalletCreated"] == [0]
            last = entries[-1]
            assert (last.balance, last.held_balance, last.status) == (
                wallet.balance,
                wallet.held_balance,
                wallet.status,
            )
        for entry in self.entries:
            assert 0 <= entry.balance - entry.held_balance <= entry.balance <= BALANCE_MAX

    def _check_money(self) -> None:
        """Currency by currency, what the wallets have is what came from outside less what left."""
        paid: dict[str, Decimal] = defaultdict(Decimal)
        for entry in self.entries:
            if entry.counterparty_wallet_id is None and entry.amount is not None:
                sign = (entry.event_type in PAID_IN) - (entry.event_type in PAID_OUT)
                paid[self.wallets[entry.wallet_id].currency] += sign * entry.amount
        there: dict[str, Decimal] = defaultdict(Decimal)
        for wallet in self.wallets.values():
            there[wallet.currency] += wallet.balance
        assert there == paid


def _reserves(hold: Hold, wallet: Wallet) -> bool:
    return hold.wallet_id == wallet.id and hold.status is HoldStatus.ACTIVE

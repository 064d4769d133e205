"""The ledger folded, entry by entry, and held against itself and the wallet's row. Pure.

The fold is `evolve`, the same that decided the balances: what an entry says of the wallet after it must be what its
amount makes of the wallet before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from worker.audit.report import NONE, Difference, Store, show
from worker.contracts.events import EventType
from worker.contracts.money import ZERO
from worker.contracts.status import WalletStatus
from worker.domain.evolve import evolve
from worker.domain.facts import Fact, WalletCreated, WalletCredited, WalletDebited
from worker.domain.wallet import NO_METADATA, Wallet
from worker.ledger.entry import Entry

_FOLDED = ("status", "balance", "held_balance", "version", "metadata", "created_at", "updated_at")


def fold(wallet: Wallet | None, entry: Entry, row: Wallet | None) -> tuple[Wallet, list[Difference]]:
    """The wallet after `entry`, and where the entry says otherwise; what it says is then taken as given.

    `wallet` is None where `entry` is the first; `row` knows what no entry says: owner and currency.
    """
    expected_version = -1 if wallet is None else wallet.version
    differences = []
    if entry.version != expected_version + 1:
        differences.append(_in_ledger(entry, "follows version", expected_version, entry.version - 1))
    after = evolve(wallet, _fact(wallet, entry, row), entry.occurred_at)
    said = {"status": entry.status, "balance": entry.balance, "held_balance": entry.held_balance}
    for name, found in said.items():
        expected = getattr(after, name)
        if found != expected:
            differences.append(_in_ledger(entry, name, expected, found))
    if entry.occurred_at < after.updated_at:
        differences.append(_in_ledger(entry, "occurred_at not before", after.updated_at, entry.occurred_at))
    given = replace(
        after,
        version=entry.version,
        status=WalletStatus.__members__.get(entry.status, after.status),
        balance=entry.balance,
        held_balance=entry.held_balance,
        metadata=entry.wallet_metadata or after.metadata,
    )
    return given, differences


def compare_row(wallet_id: str, row: Wallet | None, wallet: Wallet | None) -> Iterator[Difference]:
    """Where a wallet's row is not what the fold of its ledger came to; None: there is no row, or no ledger."""
    if row is None or wallet is None:
        if row is not wallet:
            expected, found = (f"version {one.version}" if one else NONE for one in (wallet, row))
            yield Difference(wallet_id, Store.POSTGRES, "wallets row (by the ledger)", expected, found)
        return
    for name in _FOLDED:
        expected, found = getattr(wallet, name), getattr(row, name)
        if expected != found:
            yield Difference(wallet_id, Store.POSTGRES, f"wallets row {name}", show(expected), show(found))


def _fact(wallet: Wallet | None, entry: Entry, row: Wallet | None) -> Fact:
    amount, counterparty = entry.amount or ZERO, entry.counterparty_wallet_id
    if wallet is None or entry.event_type == EventType.WALLET_CREATED:
        owner_id, currency = (row.owner_id, row.currency) if row else ("", "")
        return WalletCreated(entry.wallet_id, owner_id, currency, amount, entry.wallet_metadata or NO_METADATA)
    if entry.event_type == EventType.WALLET_DEBITED:
        return WalletDebited(entry.wallet_id, amount, counterparty)
    return WalletCredited(entry.wallet_id, amount, counterparty)


def _in_ledger(entry: Entry, what: str, expected: object, found: object) -> Difference:
    return Difference(entry.wallet_id, Store.POSTGRES, f"ledger {entry.version} {what}", show(expected), show(found))

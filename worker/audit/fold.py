"""The ledger folded, entry by entry, and held against itself and the wallet's row. Pure.

The fold is `evolve`, the same that decided the balances: what an entry says of the wallet after it must be what its
amount makes of the wallet before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.audit.entry_fact import UnreadableEntry, fact_of
from worker.audit.report import NONE, Difference, Store, show
from worker.contracts.events import EventType
from worker.contracts.status import WalletStatus
from worker.domain.evolve import evolve
from worker.domain.wallet import Wallet
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
    after, wrong = _evolve(wallet, entry, row)
    differences += wrong
    said = {"status": entry.status, "balance": entry.balance, "held_balance": entry.held_balance}
    for name, found in said.items():
        expected = getattr(after, name)
        if found != expected:
            differences.append(_in_ledger(entry, name, expected, found))
    if entry.occurred_at < after.updated_at:
        differences.append(_in_ledger(entry, "occurred_at not before", after.updated_at, entry.occurred_at))
    given = after._replace(
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


def _evolve(wallet: Wallet | None, entry: Entry, row: Wallet | None) -> tuple[Wallet, list[Difference]]:
    """What `evolve` makes of `wallet`; one whose entry says nothing that can be folded stays as it was."""
    owner_id, currency = (row.owner_id, row.currency) if row else ("", "")
    if wallet is None:
        # A ledger that does not begin with a creation is a difference, which the version tells: it is folded as one.
        first = entry._replace(event_type=EventType.WALLET_CREATED)
        return evolve(None, fact_of(first, owner_id, currency), entry.occurred_at), []
    try:
        return evolve(wallet, fact_of(entry, owner_id, currency), entry.occurred_at), []
    except UnreadableEntry as unreadable:
        return wallet, [_in_ledger(entry, "is an entry", entry.event_type, unreadable)]


def _in_ledger(entry: Entry, what: str, expected: object, found: object) -> Difference:
    return Difference(entry.wallet_id, Store.POSTGRES, f"ledger {entry.version} {what}", show(expected), show(found))

"""A wallet as every store has it, read raw and one at a time: its rows, its entries, its stream.

However long a run was, only one wallet's history is in memory at once. Nothing may be in flight while it is read.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
from esdbclient import EventStoreDBClient, RecordedEvent

from tests.support.fold import BALANCE, Folded, fold_ledger, fold_stream
from tests.support.postgres import administrator
from tests.support.world import World, read_stream

STRAY = """
SELECT wallet_id::text FROM (SELECT wallet_id FROM ledger UNION SELECT wallet_id FROM holds) AS named
WHERE NOT EXISTS (SELECT FROM wallets WHERE id = wallet_id)
"""


class Account(NamedTuple):
    """A wallet's row, its holds' rows, its entries in order, and its stream."""

    wallet: asyncpg.Record
    holds: Sequence[asyncpg.Record]
    entries: Sequence[asyncpg.Record]
    stream: Sequence[RecordedEvent]

    @property
    def id(self) -> str:
        """The wallet's id."""
        return str(self.wallet["id"])

    @property
    def stored(self) -> Folded:
        """What the rows say that the wallet and its holds are."""
        row = self.wallet
        holds = {str(hold["id"]): (hold["amount"], hold["captured_amount"], hold["status"]) for hold in self.holds}
        stands = row["version"], row["balance"], row["held_balance"], row["status"], json.loads(row["metadata"])
        return Folded(*stands, holds)


async def read_accounts(world: World) -> AsyncIterator[Account]:
    """Every wallet in turn."""
    client = EventStoreDBClient(world.environment["KURRENTDB_URI"])
    try:
        async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
            for wallet in await connection.fetch("SELECT * FROM wallets ORDER BY id"):
                holds = await connection.fetch("SELECT * FROM holds WHERE wallet_id = $1", wallet["id"])
                entries = await connection.fetch(
                    "SELECT * FROM ledger WHERE wallet_id = $1 ORDER BY version", wallet["id"]
                )
                stream = await asyncio.to_thread(read_stream, client, str(wallet["id"]))
                yield Account(wallet, holds, entries, stream)
    finally:
        client.close()


async def stray_wallets(world: World) -> list[str]:
    """The ids that entries or holds name and that no wallet has."""
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        return [row[0] for row in await connection.fetch(STRAY)]


class Totals:
    """What is true of all wallets together: no money came or went by itself, and what each command made."""

    def __init__(self) -> None:
        self.entries: Counter[str] = Counter()
        """By command id."""
        self._unexplained: dict[str, Decimal] = defaultdict(Decimal)
        self._moved: dict[str, Decimal] = defaultdict(Decimal)

    def add(self, account: Account) -> None:
        """Take a wallet into account."""
        currency = account.wallet["currency"]
        self._unexplained[currency] += account.wallet["balance"]
        for entry in account.entries:
            self.entries[str(entry["command_id"])] += 1
            # What left for another wallet, or came from one, must come to nothing over all wallets.
            across = entry["counterparty_wallet_id"] is not None
            amount = BALANCE.get(entry["event_type"], 0) * (entry["amount"] or Decimal(0))
            self._unexplained[currency] -= Decimal(0) if across else amount
            self._moved[currency] += amount if across else Decimal(0)

    def violations(self) -> Iterator[str]:
        """Currency by currency: all balances are all credits less all debits and captures that left."""
        for currency, left in self._unexplained.items():
            if left:
                yield f"balances hold {left} {currency} more than was paid in and not paid out"
        for currency, left in self._moved.items():
            if left:
                yield f"transfers made or lost {left} {currency}"


def rows_violations(account: Account) -> Iterator[str]:
    """No balance is below zero, versions have no gap, the rows are what the ledger comes to, no hold expired early."""
    wallet = account.wallet
    balance, held, available = wallet["balance"], wallet["held_balance"], wallet["available_balance"]
    if min(balance, held, available) < 0 or available != balance - held:
        yield f"{account.id} has {balance}, of it {held} held, {available} available"
    versions = [entry["version"] for entry in account.entries]
    if versions != list(range(wallet["version"] + 1)):
        yield f"{account.id} is at version {wallet['version']}, and its ledger has the versions {_short(versions)}"
    yield from _fold_violations(account, "ledger", account.entries)
    ends = {str(hold["id"]): hold["expires_at"] for hold in account.holds}
    for entry in account.entries:
        if entry["event_type"] == "HoldExpired":
            end = ends.get(json.loads(entry["hold"])["holdId"])
            if end is None or entry["occurred_at"] < end:
                yield f"a hold of {account.id} expired at {entry['occurred_at']}, which is before its end, {end}"


def stream_violations(account: Account) -> Iterator[str]:
    """The stream's revisions have no gap, its events are the ledger's, it comes to what the rows say."""
    wallet, stream, entries = account.wallet, account.stream, account.entries
    revisions = [event.stream_position for event in stream]
    if revisions != list(range(wallet["version"] + 1)):
        yield f"{account.id} is at version {wallet['version']}, and its stream has the revisions {_short(revisions)}"
        return
    times = []
    for event, entry in zip(stream, entries, strict=False):
        data = json.loads(event.data)
        times.append(data["occurredAt"])
        said = event.id, event.type, data["version"], json.loads(event.metadata)["$causationId"], data["occurredAt"]
        kept = entry["event_id"], entry["event_type"], entry["version"], str(entry["command_id"]), _time(entry)
        if said != kept:
            yield f"{account.id}: the event {said} is not the entry {kept}"
        if (data["ownerId"], data["currency"]) != (wallet["owner_id"], wallet["currency"]):
            yield f"{account.id}: the event at revision {event.stream_position} names another owner or currency"
    if times != sorted(times):
        yield f"{account.id}: occurredAt runs backwards in its stream"
    yield from _fold_violations(account, "stream", stream)


def _time(entry: asyncpg.Record) -> str:
    """When an entry's event happened, as it travels; asyncpg gives it in UTC."""
    return f"{entry['occurred_at']:%Y-%m-%dT%H:%M:%S.%fZ}"


def _fold_violations(account: Account, store: str, history: Sequence[Any]) -> Iterator[str]:
    try:
        folded = fold_ledger(history) if store == "ledger" else fold_stream(history)
    except AssertionError as error:
        yield f"{account.id}: its {store} contradicts itself: {error}"
        return
    if folded != account.stored:
        yield f"{account.id}: its {store} comes to {folded}\nits rows are {account.stored}"


def _short(numbers: Sequence[int]) -> str:
    """The first gap is what matters, not thousands of numbers."""
    gap = next((place for place, number in enumerate(numbers) if place != number), len(numbers))
    return f"0 to {gap - 1}" + (f", then {numbers[gap]} ({len(numbers)} in all)" if gap < len(numbers) else "")

"""What must hold after every run, read raw from the stores: Kafka, Postgres, KurrentDB.

None of it goes through the worker's code. `check` runs them all; a test that wants the books besides gets them back.
Each violation is a text, so that a long run can list them; a test fails with them. Documents: `documents.py`; whether
each command had the effect that a sequential run would have had: `explain.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord
from esdbclient import RecordedEvent

from tests.support.accounts import Account, Totals, read_accounts, rows_violations, stray_wallets, stream_violations
from tests.support.answers import Answers
from tests.support.postgres import administrator
from tests.support.replies import Topic, header
from tests.support.world import World

EFFECTS = {"CreateWallet": 1, "CreditWallet": 1, "DebitWallet": 1, "Transfer": 2}
"""How many entries an accepted command makes, where that is always the same."""
SHOWN_MAX = 20


@dataclass(frozen=True)
class Books:
    """The rows of Postgres, those of each wallet in order, and each wallet's stream."""

    wallets: dict[str, asyncpg.Record] = field(default_factory=dict)
    holds: dict[str, Sequence[asyncpg.Record]] = field(default_factory=dict)
    ledger: dict[str, Sequence[asyncpg.Record]] = field(default_factory=dict)
    streams: dict[str, Sequence[RecordedEvent]] = field(default_factory=dict)
    commands: dict[str, list[asyncpg.Record]] = field(default_factory=dict)

    def add(self, account: Account) -> None:
        """Take in a wallet."""
        self.wallets[account.id] = account.wallet
        self.holds[account.id] = account.holds
        self.ledger[account.id] = account.entries
        self.streams[account.id] = account.stream

    def accounts(self) -> Iterator[Account]:
        """The wallets one by one."""
        for id_, wallet in self.wallets.items():
            yield Account(wallet, self.holds[id_], self.ledger[id_], self.streams[id_])


async def check(world: World, replies: Topic) -> Books:
    """Fail where an invariant is broken. Everything that was sent must be answered, and nothing be in flight."""
    commands = await (await world.topic(world.command_topic)).to_end()
    await replies.to_end()
    books = await read_books(world)
    fail_with(Answers(replies.records).violations(commands))
    fail_with(f"rows of a wallet that is not there: {id_}" for id_ in await stray_wallets(world))
    check_rows(books)
    check_effects(books, replies.records)
    check_streams(books)
    return books


async def read_books(world: World) -> Books:
    """Read Postgres and KurrentDB."""
    books = Books(commands=defaultdict(list))
    async for account in read_accounts(world):
        books.add(account)
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        for row in await connection.fetch("SELECT * FROM commands ORDER BY command_id, attempt"):
            books.commands[str(row["command_id"])].append(row)
    return books


def fail_with(violations: Iterable[str]) -> None:
    """Fail where there are any, with the first of them."""
    found = list(islice(violations, SHOWN_MAX))
    assert not found, "\n".join(found)


def check_rows(books: Books) -> None:
    """No balance is below zero; a wallet is the fold of its ledger, its holds too; no money came or went by itself."""
    for account in books.accounts():
        fail_with(rows_violations(account))
    fail_with(totals_of(books).violations())


def check_streams(books: Books) -> None:
    """Each stream's revisions are 0 to version without a gap, its events are the ledger's, its fold is the rows."""
    for account in books.accounts():
        fail_with(stream_violations(account))


def check_effects(books: Books, replies: Iterable[ConsumerRecord]) -> None:
    """A command that was accepted has one effect, any other none; the reply to it is the stored one."""
    rows = [row for attempts in books.commands.values() for row in attempts]
    fail_with(effect_violations(totals_of(books).entries, rows))
    fail_with(Answers(replies).stored_violations(rows))


def check_committed(commands: Sequence[ConsumerRecord], replies: Topic, committed: dict[int, int]) -> None:
    """No record before a committed offset is without a reply (`committed` was read before the replies were)."""
    for record in commands:
        if record.offset < committed.get(record.partition, 0):
            at = f"{record.partition}/{record.offset}"
            assert replies.to(header(record, "correlation_id") or b""), f"{at} is committed and not answered"


def effect_violations(entries: Counter[str], commands: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Each of the `commands`' rows has exactly the entries that it should have; no entry is without a command."""
    left, seen = Counter(entries), ""
    for row in commands:
        id_ = str(row["command_id"])
        if id_ == seen:
            yield f"the command {id_} ran more than once"
        seen = id_
        # A group, a capture and a suspension make as many as it takes; the row says how many that was.
        says = len(row["event_versions"])
        expected = EFFECTS.get(row["type"], says) if row["error_code"] is None else 0
        made = left.pop(id_, 0)
        if not expected == made == says:
            yield f"the command {id_} ({row['type']}, {row['error_code']}) made {made} entries, expected {expected}"
    for id_ in left:
        yield f"there are entries of the command {id_}, which never ran"


def totals_of(books: Books) -> Totals:
    """What all wallets come to."""
    totals = Totals()
    for account in books.accounts():
        totals.add(account)
    return totals

"""What must hold after every run, read raw from the stores: Kafka, Postgres, KurrentDB.

None of it goes through the worker's code. `check` runs them all; a test that wants the books besides gets them back.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord
from esdbclient import RecordedEvent

from tests.support.fold import BALANCE, Folded, fold_ledger, fold_stream
from tests.support.postgres import administrator
from tests.support.replies import REFUSED_UNSTORED, Topic, code, content, header
from tests.support.world import World

EFFECTS = {"CreateWallet": 1, "CreditWallet": 1, "DebitWallet": 1, "Transfer": 2}
"""How many entries an accepted command makes, where that is always the same."""


@dataclass(frozen=True)
class Books:
    """The rows of Postgres, those of each wallet in order, and each wallet's stream."""

    wallets: dict[str, asyncpg.Record]
    holds: dict[str, list[asyncpg.Record]]
    ledger: dict[str, list[asyncpg.Record]]
    commands: dict[str, list[asyncpg.Record]]
    streams: dict[str, tuple[RecordedEvent, ...]]


async def check(world: World, replies: Topic) -> Books:
    """Fail where an invariant is broken. Everything that was sent must be answered, and nothing be in flight."""
    commands = await (await world.topic(world.command_topic)).to_end()
    await replies.to_end()
    books = await read_books(world)
    check_replies(commands, replies)
    check_rows(books)
    check_effects(books, replies.records)
    check_streams(books)
    return books


async def read_books(world: World) -> Books:
    """Read Postgres and KurrentDB."""
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        wallets = {str(row["id"]): row for row in await connection.fetch("SELECT * FROM wallets")}
        holds, ledger, commands = defaultdict(list), defaultdict(list), defaultdict(list)
        for row in await connection.fetch("SELECT * FROM holds"):
            holds[str(row["wallet_id"])].append(row)
        for row in await connection.fetch("SELECT * FROM ledger ORDER BY wallet_id, version"):
            ledger[str(row["wallet_id"])].append(row)
        for row in await connection.fetch("SELECT * FROM commands ORDER BY command_id, attempt"):
            commands[str(row["command_id"])].append(row)
    streams = await world.streams(list(wallets))
    return Books(wallets, dict(holds), dict(ledger), dict(commands), streams)


def check_replies(commands: Sequence[ConsumerRecord], replies: Topic) -> None:
    """Each record has a reply, always the same; each stored reply of a command id is the same; keys come back."""
    by_command = defaultdict(set)
    for record in commands:
        answers = replies.to(header(record, "correlation_id") or b"")
        assert answers, f"no reply to the record at {record.partition}/{record.offset}"
        assert len({answer.value for answer in answers}) == 1, f"different replies: {answers}"
        assert {answer.key for answer in answers} == {record.key}
        if code(answers[0]) not in REFUSED_UNSTORED:
            by_command[content(answers[0])["commandId"]].add(answers[0].value)
    different = {id_: values for id_, values in by_command.items() if id_ is not None and len(values) > 1}
    assert not different


def check_committed(commands: Sequence[ConsumerRecord], replies: Topic, committed: dict[int, int]) -> None:
    """No record before a committed offset is without a reply (`committed` was read before the replies were)."""
    for record in commands:
        if record.offset < committed.get(record.partition, 0):
            at = f"{record.partition}/{record.offset}"
            assert replies.to(header(record, "correlation_id") or b""), f"{at} is committed and not answered"


def check_rows(books: Books) -> None:
    """No balance is below zero; a wallet is the fold of its ledger, its holds too; no money came or went by itself."""
    for wallet_id, wallet in books.wallets.items():
        entries = books.ledger.get(wallet_id, [])
        assert wallet["available_balance"] >= 0 and wallet["held_balance"] >= 0, wallet
        assert [entry["version"] for entry in entries] == list(range(wallet["version"] + 1)), wallet
        assert_equal(fold_ledger(entries), as_stored(books, wallet_id))
    assert books.ledger.keys() | books.holds.keys() <= books.wallets.keys()
    check_money(books)


def as_stored(books: Books, wallet_id: str) -> Folded:
    """A wallet's row and its holds' rows."""
    row = books.wallets[wallet_id]
    holds = {
        str(hold["id"]): (hold["amount"], hold["captured_amount"], hold["status"])
        for hold in books.holds.get(wallet_id, [])
    }
    stands = row["version"], row["balance"], row["held_balance"], row["status"], json.loads(row["metadata"])
    return Folded(*stands, holds)


def assert_equal(folded: Folded, stored: Folded) -> None:
    """Fail with both."""
    assert folded == stored, f"the events come to {folded}\nthe rows are {stored}"


def check_money(books: Books) -> None:
    """Currency by currency: all balances are all credits less all debits and captures that left."""
    left: dict[str, Decimal] = defaultdict(Decimal)
    for wallet_id, wallet in books.wallets.items():
        outside = (entry for entry in books.ledger[wallet_id] if entry["counterparty_wallet_id"] is None)
        left[wallet["currency"]] += wallet["balance"] - sum(map(_signed, outside), Decimal(0))
    assert not any(left.values()), left


def check_effects(books: Books, replies: Iterable[ConsumerRecord]) -> None:
    """A command that was accepted has one effect, any other none; its reply says so; money only moved."""
    effects = Counter(str(entry["command_id"]) for entries in books.ledger.values() for entry in entries)
    for id_, rows in books.commands.items():
        assert len(rows) == 1, f"{id_} ran {len(rows)} times"
        accepted = rows[0]["error_code"] is None
        # A group, a capture and a suspension make as many as it takes; the row says how many that was.
        says = len(rows[0]["event_versions"])
        expected = EFFECTS.get(rows[0]["type"], says) if accepted else 0
        assert effects.pop(id_, 0) == expected, rows[0]
    assert not effects, "entries without a command"
    answered = {content(reply)["commandId"]: reply.value for reply in replies if code(reply) not in REFUSED_UNSTORED}
    for id_, rows in books.commands.items():
        assert answered[id_] == rows[0]["reply"].encode(), f"the reply to {id_} is not the stored one"
    moved = [entry for entries in books.ledger.values() for entry in entries if entry["transfer_id"] is not None]
    assert sum(map(_signed, moved), Decimal(0)) == 0, "transfers made or lost money"


def check_streams(books: Books) -> None:
    """Each stream's revisions are 0 to version without a gap, its events are the ledger's, its fold is the rows."""
    for wallet_id, wallet in books.wallets.items():
        stream, entries = books.streams[wallet_id], books.ledger[wallet_id]
        assert [event.stream_position for event in stream] == list(range(wallet["version"] + 1)), wallet_id
        assert [event.id for event in stream] == [entry["event_id"] for entry in entries], wallet_id
        times = []
        for event, entry in zip(stream, entries, strict=True):
            data = json.loads(event.data)
            times.append(data["occurredAt"])
            assert (event.type, data["version"]) == (entry["event_type"], entry["version"])
            assert (data["ownerId"], data["currency"]) == (wallet["owner_id"], wallet["currency"])
            assert json.loads(event.metadata)["$causationId"] == str(entry["command_id"])
        assert times == sorted(times), "occurredAt ran backwards"
        assert_equal(fold_stream(stream), as_stored(books, wallet_id))


def _signed(entry: Any) -> Decimal:
    """What an entry adds to the balance: a hold only reserves, its capture pays out."""
    return BALANCE.get(entry["event_type"], 0) * (entry["amount"] or Decimal(0))

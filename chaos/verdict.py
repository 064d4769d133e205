"""The judgement: everything that stands in the stores after a run, against everything that must be.

A wallet at a time and reply by reply, so that a run may be as long as one likes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from tests.support.accounts import Totals, read_accounts, rows_violations, stray_wallets, stream_violations
from tests.support.answers import NO_ID, Answers
from tests.support.documents import open_documents
from tests.support.explain import Outcome, explain
from tests.support.invariants import Books, effect_violations
from tests.support.postgres import administrator
from tests.support.replies import header, read_topics
from tests.support.runs import Stored, first_runs, stored_run
from tests.support.world import World

COMMANDS = """
SELECT command_id, attempt, type, error_code, event_wallet_ids, event_versions, reply
FROM commands ORDER BY command_id, attempt
"""

LETTER_BYTES_MAX = 512 * 1024
"""So much of a value is kept (contract, "Kafka topics")."""


@dataclass
class Verdict:
    """What was found. `repeated` records asked for what had been asked before; `replays` are replies that say so."""

    violations: list[str] = field(default_factory=list)
    records: int = 0
    ran: int = 0
    accepted: int = 0
    repeated: int = 0
    replies: int = 0
    replays: int = 0
    wallets: int = 0
    holds: int = 0
    events: int = 0
    lines: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    """How long it took to find out."""


async def judge(world: World, planned: Mapping[bytes, str | None]) -> Verdict:
    """Read all stores; everything must be at rest. `planned`: the codes of what must be refused at once."""
    began, verdict, answers = time.monotonic(), Verdict(), Answers()
    commands = [record async for record in _topic(world, world.command_topic)]
    async for reply in _topic(world, world.reply_topic):
        answers.add(reply)
    verdict.violations += answers.violations(commands)
    totals, outcome = await _judge_wallets(world, verdict)
    stored = await _judge_commands(world, verdict, totals, answers)
    await _judge_dead_letters(world, verdict, commands, answers)
    verdict.violations += _against_the_model(commands, answers, planned, stored, outcome)
    verdict.records, verdict.ran = len(commands), len(stored)
    verdict.replies, verdict.replays = answers.count, answers.repeats
    verdict.repeated = sum(_is_run(answers, record) for record in commands) - len(stored)
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


async def _judge_wallets(world: World, verdict: Verdict) -> tuple[Totals, Outcome]:
    totals, outcome = Totals(), Outcome()
    verdict.violations += [f"rows of a wallet that is not there: {id_}" for id_ in await stray_wallets(world)]
    async with open_documents(world) as documents, aclosing(read_accounts(world)) as accounts:
        async for account in accounts:
            verdict.violations += [*rows_violations(account), *stream_violations(account)]
            books = Books()
            books.add(account)
            verdict.violations += await documents.violations(books, account.id)
            totals.add(account)
            outcome.add(account)
            verdict.wallets += 1
            verdict.events += len(account.stream)
            verdict.holds += len(account.holds)
            verdict.lines += sum(bool(entry["amount"]) for entry in account.entries)
        shown, expected = await documents.count(), (verdict.wallets, verdict.holds, verdict.lines)
    if shown != expected:
        verdict.violations.append(f"there are {shown} documents of wallets, holds and lines, expected {expected}")
    verdict.violations += totals.violations()
    return totals, outcome


async def _judge_commands(world: World, verdict: Verdict, totals: Totals, answers: Answers) -> dict[str, Stored]:
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        rows = await connection.fetch(COMMANDS)
    verdict.violations += effect_violations(totals.entries, rows)
    verdict.violations += answers.stored_violations(rows)
    verdict.accepted = sum(row["error_code"] is None for row in rows)
    return {str(row["command_id"]): stored_run(row) for row in rows}


async def _judge_dead_letters(
    world: World, verdict: Verdict, commands: Iterable[ConsumerRecord], answers: Answers
) -> None:
    """What could not be read is kept, and what failed by itself; nothing else."""
    failed = {
        (record.partition, record.offset)
        for record in commands
        if (told := answers.to(record)) and told.code == "InternalError"
    }
    unreadable = {
        (record.partition, record.offset): record
        for record in commands
        if (told := answers.to(record)) and told.command_id == NO_ID
    }
    found = set()
    async for letter in _topic(world, world.dlq_topic):
        at = int(header(letter, "dlq_partition") or -1), int(header(letter, "dlq_offset") or -1)
        found.add(at)
        if at in unreadable and not is_kept(unreadable[at], letter):
            verdict.violations.append(f"the dead letter of the record at {at} is not what was sent")
    verdict.dead_letters = len(found)
    verdict.violations += [f"the record at {at} is unreadable, and no dead letter" for at in unreadable.keys() - found]
    verdict.violations += [
        f"the record at {at} is a dead letter, and was readable" for at in found - unreadable.keys() - failed
    ]


def is_kept(record: ConsumerRecord, letter: ConsumerRecord) -> bool:
    """Whether a dead letter is the record as it came: key, value (its beginning, where it is too large), headers."""
    value = record.value if record.value is None else record.value[:LETTER_BYTES_MAX]
    return (letter.key, letter.value) == (record.key, value) and set(record.headers) <= set(letter.headers)


def _against_the_model(
    commands: Iterable[ConsumerRecord],
    answers: Answers,
    planned: Mapping[bytes, str | None],
    stored: Mapping[str, Stored],
    outcome: Outcome,
) -> list[str]:
    """What a sequential run would have done; the first difference is the cause of those behind it."""
    try:
        return list(outcome.violations(explain(first_runs(commands, answers, planned, stored))))
    except (AssertionError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]


def _is_run(answers: Answers, record: ConsumerRecord) -> bool:
    told = answers.to(record)
    return told is not None and told.command_id in answers.stored and answers.stored[told.command_id] == told.digest


async def _topic(world: World, name: str) -> AsyncIterator[ConsumerRecord]:
    async with aclosing(read_topics(name, bootstrap_servers=world.bootstrap_servers)) as records:
        async for record in records:
            yield record

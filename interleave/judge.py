"""What must hold once a scene is over: the checks that chaos makes, on its rows, its streams and its replies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord
from esdbclient.exceptions import NotFound

from interleave.actors import FOREIGN
from interleave.commands import Command, Record
from interleave.kafka import Kafka
from interleave.kurrentdb import KurrentDB
from interleave.postgres import Postgres
from tests.support.accounts import Account, Totals, rows_violations, stream_violations
from tests.support.answers import Answered, Answers
from tests.support.explain import Outcome, explain
from tests.support.invariants import effect_violations
from tests.support.replies import header
from tests.support.runs import Run, Stored, first_runs, stored_run
from worker.contracts.events import stream_name

FAILED = "InternalError"


async def judge(
    postgres: Postgres, kurrentdb: KurrentDB, kafka: Kafka, wallets: Sequence[str], direct: Sequence[Record]
) -> list[str]:
    """What is wrong with what the scene left; nothing may be in flight."""
    with postgres.gates.outside():
        accounts = await _read_accounts(postgres, kurrentdb, wallets)
        sent = [record for log in kafka.topics["commands"] for record in log.entries if record is not None]
        named = {json.loads(record.value)["commandId"] for record in sent}
        called = {record.command["commandId"]: record.command for record in direct}
        rows = await postgres.outside(lambda raw: _read_commands(raw, [*(named | called.keys())]))
    totals, outcome = Totals(), Outcome()
    for account in accounts:
        totals.add(account)
        outcome.add(account)
    found = [violation for account in accounts for violation in rows_violations(account)]
    found += totals.violations()
    found += [violation for account in accounts for violation in _stream_violations(account, kurrentdb)]
    found += effect_violations(totals.entries, _last_attempts(rows))
    if any(_is_contradictory(account) for account in accounts):
        # What is answered then depends on when it was noticed.
        return found
    failed = {str(row["command_id"]) for row in rows if row["error_code"] == FAILED}
    replies = [reply for reply in kafka.topics["replies"][0].entries if reply is not None]
    told = {header(reply, "correlation_id") for reply in replies}
    found += [f"no reply to {record.value!r}" for record in sent if header(record, "correlation_id") not in told]
    # Under the id of a command that failed another one may run as its next attempt.
    sure = [record for record in sent if _id(record) not in failed]
    answers = Answers(reply for reply in replies if (header(reply, "command_id") or b"").decode() not in failed)
    found += answers.violations(sure)
    last = _last_attempts(rows)
    silent = (failed | called.keys()) - answers.stored.keys()
    found += answers.stored_violations([row for row in last if str(row["command_id"]) not in silent])
    try:
        stored = {str(row["command_id"]): stored_run(row) for row in last}
        runs = first_runs([record for record in sure if _id(record) not in called], answers, {}, stored)
        sure_calls = {id_: command for id_, command in called.items() if id_ not in failed}
        runs += _called_runs(sure_calls, sure, answers, stored)
        runs += _further_runs([row for row in last if str(row["command_id"]) in failed], sent, stored)
        found += outcome.violations(explain(runs))
    except (AssertionError, KeyError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


def _is_contradictory(account: Account) -> bool:
    return any(event.type == FOREIGN for event in account.stream)


def _stream_violations(account: Account, kurrentdb: KurrentDB) -> Iterator[str]:
    """Nobody appends behind an event that is not the ledger's, unless it had seen the stream before that event came."""
    if not _is_contradictory(account):
        yield from stream_violations(account)
        return
    types = [event.type for event in account.stream]
    if (stream_name(account.id), types.index(FOREIGN)) in kurrentdb.blind:
        yield f"{account.id}: behind a foreign event its stream goes on: {types}"


def _called_runs(
    called: Mapping[str, Command], sent: Iterable[ConsumerRecord], answers: Answers, stored: Mapping[str, Stored]
) -> Iterator[Run]:
    """Commands that were called directly, and perhaps sent besides: which of them ran is not known, nor when."""
    for id_, command in called.items():
        told = [record for record in sent if _id(record) == id_ and not _is_conflict(answers.to(record))]
        if id_ in stored:
            yield Run(None, told[0].value if told else json.dumps(command).encode(), *stored[id_])


def _further_runs(
    rows: Iterable[asyncpg.Record], sent: Iterable[ConsumerRecord], stored: Mapping[str, Stored]
) -> Iterator[Run]:
    """Attempts that ran after one that failed."""
    for row in rows:
        attempt, id_ = str(row["attempt"]).encode(), str(row["command_id"])
        tried = [one for one in sent if _id(one) == id_ and header(one, "dlq_attempt") == attempt]
        if row["error_code"] != FAILED:
            yield Run(None, tried[0].value, *stored[id_])


def _is_conflict(answered: Answered | None) -> bool:
    return answered is not None and answered.code == "IdempotencyConflict"


def _id(record: Any) -> str:
    return str(json.loads(record.value)["commandId"])


def _last_attempts(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Without attempts that failed and were made again."""
    attempts: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        attempts[str(row["command_id"])].append(row)
    return [
        row for made in attempts.values() for row in made if row["error_code"] != FAILED or row["attempt"] == len(made)
    ]


async def _read_accounts(postgres: Postgres, kurrentdb: KurrentDB, wallets: Sequence[str]) -> list[Account]:
    async def read(raw: asyncpg.Connection[Any]) -> list[Account]:
        rows = await raw.fetch("SELECT * FROM wallets WHERE id = ANY($1::uuid[]) ORDER BY id", wallets)
        holds = await raw.fetch("SELECT * FROM holds WHERE wallet_id = ANY($1::uuid[])", wallets)
        entries = await raw.fetch(
            "SELECT * FROM ledger WHERE wallet_id = ANY($1::uuid[]) ORDER BY wallet_id, version", wallets
        )
        return [
            Account(
                row,
                [hold for hold in holds if hold["wallet_id"] == row["id"]],
                [entry for entry in entries if entry["wallet_id"] == row["id"]],
                await _read_stream(kurrentdb, str(row["id"])),
            )
            for row in rows
        ]

    accounts: list[Account] = await postgres.outside(read)
    return accounts


async def _read_stream(kurrentdb: KurrentDB, wallet_id: str) -> Sequence[Any]:
    try:
        events: Sequence[Any] = await kurrentdb.client.get_stream(stream_name(wallet_id))
    except NotFound:
        return ()
    return events


async def _read_commands(raw: asyncpg.Connection[Any], ids: Sequence[str]) -> list[asyncpg.Record]:
    return list(
        await raw.fetch("SELECT * FROM commands WHERE command_id = ANY($1::uuid[]) ORDER BY command_id, attempt", ids)
    )

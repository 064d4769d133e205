"""Hold every reply against what it must be, and say of each that is wrong what was expected.

Records with the same key are decided in the order they were published. Between keys Kafka gives no order, but replies
name versions: whatever made version 5 of a wallet came after what saw version 4. In an order that respects both, the
model must give the very replies that came. Where there is no such order, that is a fault as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from aiokafka import ConsumerRecord

from demo.model import Command, Model, named_wallets
from demo.story import FIRST_REPLY, FROM_MODEL, Record

Replies = Mapping[bytes, Sequence[ConsumerRecord]]
"""The replies by correlation id."""


@dataclass(frozen=True)
class Answer:
    """A record with its one reply; `content` is the reply's JSON."""

    record: Record
    reply: ConsumerRecord
    content: dict[str, Any]

    @property
    def code(self) -> str:
        """The code of a rejection, empty where the command was accepted."""
        return self.content["error"]["code"] if "error" in self.content else ""

    @property
    def replayed(self) -> bool:
        return dict(self.reply.headers).get("replayed") == b"true"


@dataclass
class Verdict:
    """What the check found: `problems` is empty where every record got its one right reply."""

    problems: list[str] = field(default_factory=list)
    counted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    model: Model = field(default_factory=Model)


def check_replies(records: Sequence[Record], replies: Replies) -> Verdict:
    """Check the replies to all records of a story, in the order they were published."""
    verdict = Verdict()
    answers = dict(_one_reply_each(records, replies, verdict))
    for answer in answers.values():
        verdict.counted[answer.record.kind, answer.content["status"], answer.code] += 1
        verdict.problems += _problems_of_one(answer, answers)
    decided = [answer for answer in answers.values() if answer.record.expects == FROM_MODEL]
    try:
        for answer in in_a_possible_order(decided):
            verdict.problems += _problems_with_model(answer, verdict.model)
    except CycleError as error:
        verdict.problems.append(f"no order of the commands explains these replies: {error.args[1][:4]}")
    return verdict


def in_a_possible_order(answers: Sequence[Answer]) -> Iterator[Answer]:
    """`answers`, given in the order of publishing, in an order that keys and versions allow; CycleError: none does."""
    sorter: TopologicalSorter[int] = TopologicalSorter()
    last_of_key: dict[bytes, int] = {}
    makers = {made: place for place, answer in enumerate(answers) for made in _made(answer)}
    for place, answer in enumerate(answers):
        sorter.add(place)
        if answer.record.key in last_of_key:
            sorter.add(place, last_of_key[answer.record.key])
        last_of_key[answer.record.key] = place
        for wallet_id, version in _seen(answer).items():
            before, after = makers.get((wallet_id, version)), makers.get((wallet_id, version + 1))
            if before is not None:
                sorter.add(place, before)
            if after not in (None, place):
                sorter.add(after, place)
    return (answers[place] for place in sorter.static_order())


def _one_reply_each(records: Sequence[Record], replies: Replies, verdict: Verdict) -> Iterator[tuple[int, Answer]]:
    for record in records:
        found = replies.get(record.correlation_id, ())
        if len(found) == 1:
            yield record.number, Answer(record, found[0], json.loads(found[0].value))
        else:
            verdict.problems.append(f"{_name(record)} got {len(found)} replies; expected one")


def _problems_of_one(answer: Answer, answers: Mapping[int, Answer]) -> Iterator[str]:
    """What is wrong with a reply whatever the wallets hold."""
    record, content, headers = answer.record, answer.content, dict(answer.reply.headers)
    if answer.reply.key != record.key or headers.get("status") != content["status"].encode():
        yield f"{_name(record)}: its reply's key or status header is not its own: {headers}"
    if record.expects == FIRST_REPLY:
        first = answers.get(record.duplicate_of or 0)
        if first and (not answer.replayed or answer.reply.value != first.reply.value):
            yield f"{_name(record)} got {content}; expected its first reply, byte for byte: {first.content}"
    elif record.expects != FROM_MODEL:
        command_id = record.command["commandId"] if record.command else None
        if (answer.code, content["commandId"]) != (record.expects, command_id):
            yield f"{_name(record)} got {content}; expected {record.expects} for commandId {command_id}"


def _problems_with_model(answer: Answer, model: Model) -> Iterator[str]:
    expected = model.answer(_command(answer))
    got = {name: value for name, value in answer.content.items() if name not in ("processedAt", "error")}
    if answer.code:
        details = answer.content["error"]["details"]
        promised = expected.get("error", {}).get("details", {})
        got["error"] = {"code": answer.code, "details": {name: details.get(name) for name in promised}}
    if got != expected:
        yield f"{_name(answer.record)} got {got}; expected {expected}"


def _made(answer: Answer) -> list[tuple[str, int]]:
    """The wallets' versions that a command made."""
    if answer.code:
        return []
    return [(wallet["walletId"], wallet["version"]) for wallet in answer.content["wallets"]]


def _seen(answer: Answer) -> dict[str, int]:
    """The versions at which a command found the wallets that it names; -1 where there was none."""
    step = 0 if answer.code else 1
    found = {wallet["walletId"]: wallet["version"] - step for wallet in answer.content["wallets"]}
    return dict.fromkeys(named_wallets(_command(answer)), -1) | found


def _command(answer: Answer) -> Command:
    if answer.record.command is None:
        raise ValueError(f"{_name(answer.record)} holds no command")
    return answer.record.command


def _name(record: Record) -> str:
    return f"{record.correlation_id.decode()} ({record.kind})"

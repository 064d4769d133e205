"""The demo's check: right replies pass, every kind of wrong one is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from demo.check import check_replies
from demo.model import Model
from demo.story import FIRST_REPLY, FROM_MODEL, Record, Story

Replies = dict[bytes, list[ConsumerRecord]]


def _story(seed: int = 1) -> list[Record]:
    story = Story(seed)
    story.openings(200)
    story.business(200)
    return story.told


def _right_replies(records: list[Record]) -> Replies:
    """What a worker without fault answers, one record after another."""
    model, replies = Model(), {}
    for record in records:
        if record.expects == FIRST_REPLY:
            first = replies[records[record.duplicate_of].correlation_id][0]
            replies[record.correlation_id] = [_reply(record, first.value, replayed=True)]
            continue
        content = model.answer(record.command) if record.expects == FROM_MODEL else _refused(record)
        replies[record.correlation_id] = [_reply(record, json.dumps(content).encode())]
    return replies


def _refused(record: Record) -> dict[str, Any]:
    command_id = record.command["commandId"] if record.command else None
    error = {"code": record.expects, "message": "no", "details": {}}
    return {"commandId": command_id, "status": "rejected", "error": error, "wallets": []}


def _reply(record: Record, value: bytes, *, replayed: bool = False) -> ConsumerRecord:
    status = json.loads(value)["status"].encode()
    headers = [("correlation_id", record.correlation_id), ("status", status)]
    headers += [("replayed", b"true")] if replayed else []
    return ConsumerRecord("wallet.replies", 0, 0, 0, 0, record.key, value, None, 0, 0, tuple(headers))


def _changed(reply: ConsumerRecord, change: Callable[[dict[str, Any]], None]) -> bytes:
    content = json.loads(reply.value)
    change(content)
    return json.dumps(content).encode()


def _one(records: list[Record], kind: str, status: str, replies: Replies) -> Record:
    """A record of `kind` that was answered with `status`."""
    return next(
        record
        for record in records
        if record.kind == kind and json.loads(replies[record.correlation_id][0].value)["status"] == status
    )


def test_right_replies_have_no_problem():
    """The model's own answers pass, and the model is left with all the events that they made."""
    records = _story()

    verdict = check_replies(records, _right_replies(records))

    assert verdict.problems == []
    assert sum(verdict.counted.values()) == len(records)


def test_the_same_seed_tells_the_same_story():
    """A failed performance can be repeated."""
    assert _story(5) == _story(5)
    assert _story(5) != _story(6)


@pytest.mark.parametrize("count", [0, 2])
def test_a_record_with_no_reply_or_two_is_a_problem(count):
    """Every record gets exactly one reply."""
    records = _story()
    replies = _right_replies(records)
    record = _one(records, "unreadable record", "rejected", replies)

    replies[record.correlation_id] *= count

    assert len(check_replies(records, replies).problems) == 1


def test_a_balance_that_is_off_by_the_smallest_amount_is_a_problem():
    """Money is compared to the last place."""
    records = _story()
    replies = _right_replies(records)
    record = _one(records, "CreditWallet", "accepted", replies)

    def lose_some(content: dict[str, Any]) -> None:
        content["wallets"][0]["balance"] = content["wallets"][0]["balance"][:-1] + "x"

    replies[record.correlation_id] = [_reply(record, _changed(replies[record.correlation_id][0], lose_some))]

    assert any(record.correlation_id.decode() in problem for problem in check_replies(records, replies).problems)


def test_a_duplicate_with_another_reply_than_the_first_is_a_problem():
    """The first reply comes back byte for byte."""
    records = _story()
    replies = _right_replies(records)
    record = _one(records, "duplicate", "accepted", replies)

    value = replies[record.correlation_id][0].value + b" "
    replies[record.correlation_id] = [_reply(record, value, replayed=True)]

    assert len(check_replies(records, replies).problems) == 1


def test_another_code_than_the_contract_says_is_a_problem():
    """Refusals that no model decides have their code too."""
    records = _story()
    replies = _right_replies(records)
    record = _one(records, "misspelt field", "rejected", replies)

    def call_it_internal(content: dict[str, Any]) -> None:
        content["error"]["code"] = "InternalError"

    replies[record.correlation_id] = [_reply(record, _changed(replies[record.correlation_id][0], call_it_internal))]

    assert len(check_replies(records, replies).problems) == 1


def test_commands_of_one_key_that_took_effect_in_another_order_are_a_problem():
    """Commands with the same key take effect in the order they were published."""
    story = Story(1)
    (opened, *_) = story.openings(20)
    wallet = opened.command["walletId"]
    debit = story.tell("DebitWallet", "DebitWallet", walletId=wallet, amount="1")
    credit = story.tell("CreditWallet", "CreditWallet", walletId=wallet, amount="1")
    overtaken = [record for record in story.told if record not in (debit, credit)] + [credit, debit]

    verdict = check_replies(story.told, _right_replies(overtaken))

    assert any("no order" in problem for problem in verdict.problems)

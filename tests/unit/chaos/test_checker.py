"""The checker bites: what a sender must never see is found in the replies, what must never stand there in the rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord

from chaos.verdict import LETTER_BYTES_MAX, is_kept
from tests.support.answers import Answers
from tests.support.commands import credit, new_id, record_of, transfer
from tests.support.invariants import check_committed, effect_violations
from tests.support.runs import first_runs

WALLET = new_id()
COMMAND = credit(WALLET)


def record(offset: int, key: bytes | None, value: bytes | None, **headers: bytes) -> ConsumerRecord:
    sizes = len(key or b""), len(value or b"")
    return ConsumerRecord("topic", 0, offset, 0, 0, key, value, None, *sizes, tuple(headers.items()))


def command_record(offset: int, command=COMMAND) -> ConsumerRecord:
    sent = record_of(command)
    return record(offset, sent.key, sent.value, correlation_id=b"%d" % offset)


def reply(to: ConsumerRecord, command=COMMAND, **content: object) -> ConsumerRecord:
    said = json.dumps({"commandId": command["commandId"], "status": "accepted", **content}).encode()
    command_id = command["commandId"].encode()
    return record(0, to.key, said, correlation_id=dict(to.headers)["correlation_id"], command_id=command_id)


def row(command=COMMAND, made: int = 1, error: str | None = None, **fields: object):
    return {
        "command_id": command["commandId"],
        "type": command["type"],
        "error_code": error,
        "event_versions": [0] * made,
        "reply": "{}",
    } | fields


def test_a_record_without_a_reply_is_found():
    """Every record gets one."""
    answered, silent = command_record(1), command_record(2)

    assert [*Answers([reply(answered)]).violations([answered])] == []
    assert [*Answers([reply(answered)]).violations([answered, silent])] == ["the record at 0/2 has no reply"]


def test_one_reply_for_two_records_under_one_correlation_id_is_found():
    """Each record has its own, though both say the same."""
    twice = [command_record(1), command_record(1)]

    assert [*Answers([reply(twice[0])] * 2).violations(twice)] == []
    assert [*Answers([reply(twice[0])]).violations(twice)] == ["the record at 0/1 has no reply of its own"]


def test_a_reply_under_another_key_is_found():
    """Senders may look for theirs by it."""
    sent = command_record(1)
    strays = replace(reply(sent), key=b"another")

    assert [*Answers([strays]).violations([sent])] == ["the record at 0/1 was answered under another key than its own"]


def test_a_dead_letter_that_is_not_what_was_sent_is_found():
    """Another key, another value, a header lost; of what is too large the beginning is kept."""
    sent = record(1, b"key", b"[" * LETTER_BYTES_MAX + b"more", a=b"1")
    kept = b"[" * LETTER_BYTES_MAX

    assert is_kept(sent, record(0, b"key", kept, a=b"1", dlq_offset=b"1"))
    assert is_kept(record(1, None, None), record(0, None, None))
    assert not is_kept(sent, record(0, None, kept, a=b"1"))
    assert not is_kept(sent, record(0, b"key", kept[1:], a=b"1"))
    assert not is_kept(sent, record(0, b"key", kept))


@pytest.mark.parametrize("again", [1, 2])
def test_two_different_replies_to_a_command_are_found(again):
    """To one record, or to its duplicate."""
    first, second = command_record(1), command_record(again)
    answers = Answers([reply(first), reply(second, processedAt="later")])

    assert any("got different replies" in violation for violation in answers.violations([first]))


def test_a_reply_that_is_not_the_stored_one_is_found():
    """As well as one that was never told, and one that was told of nothing."""
    told = reply(command_record(1))
    stored = row(reply=told.value.decode())

    assert [*Answers([told]).stored_violations([stored])] == []
    assert "is not the stored one" in next(Answers([told]).stored_violations([row()]))
    assert "never told" in next(Answers().stored_violations([stored]))
    assert "only 0 are stored" in next(Answers([told]).stored_violations([]))


@pytest.mark.parametrize(
    ("rows", "entries"),
    [
        ([row()], {}),
        ([row()], {COMMAND["commandId"]: 2}),
        ([row(error="InsufficientFunds")], {COMMAND["commandId"]: 1}),
        ([row(), row()], {COMMAND["commandId"]: 1}),
        ([], {COMMAND["commandId"]: 1}),
        ([row(transfer(WALLET, new_id()))], {}),
    ],
    ids=["none", "twice", "though refused", "ran twice", "never ran", "a transfer without entries"],
)
def test_another_effect_than_the_one_is_found(rows, entries):
    """An accepted command has its entries once, any other has none."""
    assert [*effect_violations(Counter({COMMAND["commandId"]: 1}), [row()])] == []
    assert [*effect_violations(Counter(entries), rows)]


def test_a_conflict_where_there_is_none_is_found():
    """Whoever repeats a command gets its reply, not a conflict."""
    first, again = command_record(1), command_record(2)
    conflict = {"error": {"code": "IdempotencyConflict"}, "status": "rejected"}
    stored = {COMMAND["commandId"]: ("{}", {})}

    assert len(first_runs([first, again], Answers([reply(first), reply(again)]), {}, stored)) == 1
    with pytest.raises(AssertionError):
        first_runs([first, again], Answers([reply(first), reply(again, **conflict)]), {}, stored)


def test_another_command_under_a_used_id_that_was_not_refused_is_found():
    """It must be refused, and only once that id is used."""
    first, other = command_record(1), command_record(2, COMMAND | {"amount": "2"})
    conflict = {"error": {"code": "IdempotencyConflict"}, "status": "rejected"}
    stored = {COMMAND["commandId"]: ("{}", {})}

    assert len(first_runs([first, other], Answers([reply(first), reply(other, **conflict)]), {}, stored)) == 1
    for told in ([reply(first), reply(other)], [reply(first, **conflict), reply(other)]):
        with pytest.raises(AssertionError):
            first_runs([first, other], Answers(told), {}, stored)


@pytest.mark.parametrize("wrong", [{"error": {"code": "InvalidCommand"}, "status": "rejected"}, {}])
def test_a_refusal_with_another_code_than_the_planned_one_is_found(wrong):
    """Or none at all, where it should have been refused at once."""
    record, planned = command_record(1), {b"1": "InvalidAmount"}
    refusal = {"error": {"code": "InvalidAmount"}, "status": "rejected"}

    assert first_runs([record], Answers([reply(record, **refusal)]), planned, {}) == []
    with pytest.raises(AssertionError, match="expected InvalidAmount"):
        first_runs([record], Answers([reply(record, **wrong)]), planned, {})


def test_a_committed_offset_past_an_unanswered_record_is_found():
    """What is behind it may be unanswered."""
    answered, silent = command_record(0), command_record(1)
    replies = SimpleNamespace(to={b"0": [reply(answered)]}.get)

    check_committed([answered, silent], replies, {0: 1})
    with pytest.raises(AssertionError, match="0/1 is committed and not answered"):
        check_committed([answered, silent], replies, {0: 2})

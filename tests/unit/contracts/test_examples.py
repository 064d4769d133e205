"""The examples: the good ones pass schema and model, the bad ones are refused where and as they say."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.contracts.support import SCHEMAS, command_record, faults, schema_validator
from worker.contracts.commands import COMMAND
from worker.contracts.envelope import ReplyTopics
from worker.contracts.schemas.examples import EXAMPLES, Invalid, Valid
from worker.contracts.schemas.messages import COMMAND_MESSAGES, MESSAGES
from worker.inbox.decode import Refused, decode_record

BY_NAME = {message.name: message for message in MESSAGES}
VALID = [(name, example) for name, examples in EXAMPLES.items() for example in examples if isinstance(example, Valid)]
INVALID = [
    (name, example) for name, examples in EXAMPLES.items() for example in examples if isinstance(example, Invalid)
]
BAD_COMMANDS = [(name, example) for name, example in INVALID if BY_NAME[name] in COMMAND_MESSAGES]


def _names(cases):
    return [f"{name}/{example.name}" for name, example in cases]


def _on_disk(name, example):
    return (SCHEMAS / "examples" / name / example.file_name).read_bytes()


def _validator(name):
    return schema_validator(f"{BY_NAME[name].folder}/{name}.json")


@pytest.mark.parametrize("name", BY_NAME)
def test_every_message_has_a_good_and_a_bad_example(name):
    """A message without examples is not documented."""
    kinds = {type(example) for example in EXAMPLES.get(name, ())}

    assert kinds == {Valid, Invalid}


def test_no_example_is_of_a_message_that_is_not_there():
    """Examples go when their message goes, and no two share a file."""
    files = [f"{name}/{example.file_name}" for name, examples in EXAMPLES.items() for example in examples]

    assert set(EXAMPLES) <= set(BY_NAME)
    assert len(files) == len(set(files))


@pytest.mark.parametrize(("name", "example"), VALID, ids=_names(VALID))
def test_a_good_example_passes_its_schema_and_its_model(name, example):
    """What the examples show works."""
    raw = _on_disk(name, example)

    assert list(_validator(name).iter_errors(json.loads(raw))) == []
    assert faults(BY_NAME[name].model, raw) == []


@pytest.mark.parametrize(("name", "example"), INVALID, ids=_names(INVALID))
def test_a_bad_example_is_refused_at_its_place_for_its_reason(name, example):
    """One thing is wrong with each, and the model names its place."""
    refused = faults(BY_NAME[name].model, _on_disk(name, example))

    assert refused == [(example.path, example.error)]


@pytest.mark.parametrize(("name", "example"), INVALID, ids=_names(INVALID))
def test_the_index_says_whether_the_schema_refuses_a_bad_example(name, example):
    """Where JSON Schema cannot say what is wrong, the example says so, and is right about it."""
    errors = list(_validator(name).iter_errors(json.loads(_on_disk(name, example))))

    assert bool(errors) == example.schema_refuses


@pytest.mark.parametrize(("name", "example"), BAD_COMMANDS, ids=_names(BAD_COMMANDS))
def test_the_sender_of_a_bad_command_is_answered_as_the_example_says(name, example):
    """A sender can test against the examples: code and path are those of the reply."""
    record = command_record(_on_disk(name, example))

    refused = decode_record(record, ReplyTopics("wallet.replies", re.compile("never")), max_command_bytes=64 * 1024)

    assert isinstance(refused, Refused)
    assert refused.rejected.code == example.code
    assert refused.rejected.details["path"] == example.path
    assert list(_validator("Reply").iter_errors(json.loads(refused.reply))) == []


@pytest.mark.parametrize("message", COMMAND_MESSAGES, ids=lambda message: message.name)
def test_the_union_reads_an_example_as_the_command_that_it_is(message):
    """On a command topic it is `type` that says which model reads a command."""
    good = [_on_disk(message.name, example) for example in EXAMPLES[message.name] if isinstance(example, Valid)]

    commands = [COMMAND.validate_json(raw) for raw in good]

    assert {type(command) for command in commands} == {message.model}


def test_the_index_lists_every_example():
    """`index.json` is how a program finds the examples, in whatever language."""
    index = json.loads((SCHEMAS / "examples" / "index.json").read_text())

    listed = {entry["file"]: entry for entry in index}

    assert listed.keys() == {f"{name}/{example.file_name}" for name, example in VALID + INVALID}
    assert listed["CreditWallet/invalid-number-with-fraction.json"] == {
        "file": "CreditWallet/invalid-number-with-fraction.json",
        "message": "CreditWallet",
        "valid": False,
        "why": "A binary float is not money.",
        "path": "amount",
        "code": "InvalidAmount",
        "schemaRefuses": True,
    }

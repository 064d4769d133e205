"""`asyncapi.yaml`: topics, messages and the way of a reply."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.contracts.support import SCHEMAS, command_record, references, schema_validator
from worker.contracts.commands import COMMAND_TYPES
from worker.contracts.envelope import Envelope, reply_headers
from worker.contracts.replies import ErrorCode
from worker.domain.rejections import Rejected
from worker.inbox.dead_letter import dead_letter

DOCUMENT = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES = DOCUMENT["components"]["messages"]
COMMANDS = {model.__name__ for model in COMMAND_TYPES}


def test_the_channels_are_the_contracts_topics():
    """Commands, replies, ticks and dead letters have the contract's names; a requested reply goes to no fixed topic."""
    addresses = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}

    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert addresses == {
        "commands": "wallet.commands",
        "replies": "wallet.replies",
        "requestedReplies": None,
        "schedule": "wallet.schedule",
        "deadLetters": "wallet.commands.dlq",
    }


def test_a_reply_goes_to_the_topic_that_the_commands_header_names():
    """AsyncAPI finds the address of a reply in the header `reply_to` of the command."""
    reply = DOCUMENT["operations"]["runCommand"]["reply"]

    assert reply["address"]["location"] == "$message.header#/reply_to"
    assert reply["channel"] == {"$ref": "#/channels/requestedReplies"}


def test_every_command_stands_on_the_command_channel():
    """A command that the document does not list cannot be found by who reads it."""
    listed = DOCUMENT["channels"]["commands"]["messages"]

    assert set(listed) == COMMANDS
    assert set(MESSAGES) == COMMANDS | {"Reply", "ExpireDueHolds", "DeadLetter"}


def test_every_reference_leads_somewhere():
    """References inside lead to a part of the document, references outside to a file beside it."""
    found = list(references(DOCUMENT))

    assert len(found) > len(MESSAGES)
    for reference in found:
        if reference.startswith("#/"):
            part = DOCUMENT
            for step in reference[2:].split("/"):
                part = part[step]
        else:
            assert (SCHEMAS / reference).is_file()


@pytest.mark.parametrize("name", sorted(COMMANDS | {"Reply", "DeadLetter"}))
def test_a_messages_examples_fit_its_headers_and_its_payload(name):
    """The examples in the document are examples of what it describes."""
    message = MESSAGES[name]
    headers = schema_validator(message["headers"]["$ref"])

    assert message["examples"]
    for example in message["examples"]:
        assert list(headers.iter_errors(example["headers"])) == []
        if name != "DeadLetter":
            assert list(schema_validator(message["payload"]["$ref"]).iter_errors(example["payload"])) == []


def test_a_ticks_examples_fit_its_payload():
    """A tick has no key, and no header that means anything."""
    tick = MESSAGES["ExpireDueHolds"]
    validator = schema_validator(tick["payload"]["$ref"])

    assert [list(validator.iter_errors(example["payload"])) for example in tick["examples"]] == [[], []]
    assert tick.keys() & {"headers", "bindings", "correlationId"} == set()


@pytest.mark.parametrize("name", ["CommandHeaders", "ReplyHeaders", "DeadLetterHeaders"])
def test_a_header_schema_fits_its_own_example(name):
    """Each schema of headers comes with an example that passes it."""
    validator = schema_validator(f"headers/{name}.json")

    examples = validator.schema["examples"]

    assert examples
    assert all(validator.is_valid(example) for example in examples)


@pytest.mark.parametrize("reply_to", ["wallet.commands", "orders", "wallet.repliesX", "wallet.replies."])
def test_the_header_schema_refuses_a_reply_topic_that_the_worker_refuses(reply_to):
    """A sender sees from the schema which reply topics are allowed."""
    validator = schema_validator("headers/CommandHeaders.json")

    assert not validator.is_valid({"reply_to": reply_to})
    assert validator.is_valid({"reply_to": "wallet.replies.orders"})


def test_every_header_of_a_reply_is_described():
    """The schema of a reply's headers knows each header that the worker writes."""
    correlation = (("correlation_id", b"c-1"), ("kafka_correlationId", b"0123456789abcdef"))
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    envelope = Envelope("wallet.replies", correlation=correlation, traceparent=traceparent)

    written = reply_headers(envelope, "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01", "accepted", replayed=True)

    validator = schema_validator("headers/ReplyHeaders.json")
    assert {name for name, _ in written} | {"reply_to_failed"} == set(validator.schema["properties"])
    assert list(validator.iter_errors({name: value.decode() for name, value in written})) == []


@pytest.mark.parametrize("size", [11, 600 * 1024])
def test_every_header_of_a_dead_letter_is_described(size):
    """The schema of a dead letter's headers knows each header that the worker adds."""
    rejected = Rejected(ErrorCode.INVALID_COMMAND, "The command cannot be read.", {"path": ""})
    record = command_record(b"x" * size, (("correlation_id", b"c-1"),))

    letter = dead_letter(record, "wallet.commands.dlq", rejected, attempt=1)

    validator = schema_validator("headers/DeadLetterHeaders.json")
    headers = {name: value.decode() for name, value in letter.headers}
    assert list(validator.iter_errors(headers)) == []
    assert headers.keys() - {"correlation_id"} <= validator.schema["properties"].keys()
    assert ("dlq_truncated" in headers) == (size > 512 * 1024)


def test_keys_and_partitions_are_kafka_bindings():
    """Order depends on the key, so the document says what it is."""
    topics = [channel["bindings"]["kafka"] for channel in DOCUMENT["channels"].values() if "bindings" in channel]
    key = MESSAGES["Transfer"]["bindings"]["kafka"]["key"]

    assert [topic["partitions"] for topic in topics] == [12, 12, 12, 12]
    assert "fromWalletId" in key["description"]

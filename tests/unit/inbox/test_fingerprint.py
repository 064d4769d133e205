"""The fingerprint: by which a command that is repeated is told from another under the same id."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from pydantic.alias_generators import to_camel

from tests.support.commands import credit
from tests.support.received import decode
from worker.contracts.commands import COMMAND_TYPES, Command
from worker.contracts.schemas.examples import EXAMPLES
from worker.ledger.decide_batch import Received

ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
OTHER_ID = "7a6f1c52-0b7e-4a43-9f0e-2d1f4c1b9e11"
WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"
GOOD = credit(WALLET, "12.5", commandId=ID)


def good(**changes) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


SAME_MEANING = {
    "four places": good(amount="12.5000"),
    "leading zeros": good(amount="0012.50"),
    "keys in another order": json.dumps(dict(reversed(GOOD.items()))).encode(),
    "indented": json.dumps(GOOD, indent=2).encode(),
    "another id": good(commandId=OTHER_ID),
    "a time limit": good(notAfter="2026-11-22T12:00:00Z"),
    "nulls": good(reference=None, metadata=None, currency=None, expectedVersion=None),
}


@pytest.mark.parametrize("value", SAME_MEANING.values(), ids=SAME_MEANING.keys())
def test_another_spelling_has_the_same_fingerprint(value):
    """A repeat is a repeat however its sender's JSON library wrote it this time; `notAfter` is no meaning."""
    assert _fingerprint(value) == _fingerprint(good())


def test_headers_are_not_part_of_the_meaning():
    """A duplicate that comes with another correlation id is a duplicate."""
    plain, dressed = decode(good()), decode(good(), [("correlation_id", b"2"), ("reply_to", b"wallet.replies.b")])

    assert isinstance(plain, Received)
    assert isinstance(dressed, Received)
    assert plain.fingerprint == dressed.fingerprint


def test_an_integer_and_metadata_in_another_order_mean_the_same():
    """12 is "12.0000", and an object's names have no order, at any depth."""
    written = good(amount="12", metadata={"a": 1, "b": {"c": [1, 2], "d": None}})
    again = good(amount=12, metadata={"b": {"d": None, "c": [1, 2]}, "a": 1})

    assert _fingerprint(written) == _fingerprint(again)


def test_defaults_that_are_filled_in_are_the_same_as_said():
    """USD and a balance of 0 may be said or left out."""
    least = {"commandId": ID, "type": "CreateWallet", "walletId": WALLET, "ownerId": "o"}
    said = {**least, "currency": "USD", "initialBalance": "0.00"}

    assert _fingerprint(orjson.dumps(least)) == _fingerprint(orjson.dumps(said))


OPTIONAL = [
    (model, name) for model in COMMAND_TYPES for name, field in model.model_fields.items() if not field.is_required()
]


@pytest.mark.parametrize(("model", "name"), OPTIONAL, ids=[f"{model.__name__}.{name}" for model, name in OPTIONAL])
def test_an_explicit_null_is_left_out_whichever_the_field(model, name):
    """Many serialisers write null for what is not set: the default stands, and it is the same payload."""
    example = next(one.value for one in EXAMPLES[model.__name__] if one.file_name.startswith("valid"))
    absent = {key: value for key, value in example.items() if key != to_camel(name)}

    with_null = decode(orjson.dumps({**absent, to_camel(name): None}))

    assert isinstance(with_null, Received)
    assert with_null.command == _command(absent)
    assert with_null.fingerprint == _fingerprint(orjson.dumps(absent))


def test_an_explicit_null_is_left_out_of_the_parts_of_a_group():
    """They are the same models."""
    opens = {"type": "CreateWallet", "walletId": WALLET, "ownerId": "o"}
    place = {"type": "PlaceHold", "walletId": WALLET, "holdId": OTHER_ID, "amount": "7"}
    group = {"commandId": ID, "type": "Atomic", "commands": [opens, place]}
    with_nulls = [{**opens, "currency": None, "initialBalance": None}, {**place, "holdType": None, "expiresAt": None}]

    assert _fingerprint(orjson.dumps(group)) == _fingerprint(orjson.dumps({**group, "commands": with_nulls}))


GROUP = {
    "commandId": ID,
    "type": "Atomic",
    "commands": [
        {"type": "DebitWallet", "walletId": WALLET, "amount": "5"},
        {"type": "PlaceHold", "walletId": WALLET, "holdId": OTHER_ID, "amount": "7", "metadata": {"a": 1, "b": 2}},
    ],
}


def test_the_parts_of_a_group_mean_what_they_would_mean_as_commands():
    """Amounts normalised, defaults filled in, names without an order."""
    debit, place = GROUP["commands"]
    again = {
        **GROUP,
        "notAfter": "2026-11-22T12:00:00Z",
        "commands": [
            {**dict(reversed(debit.items())), "amount": 5, "currency": None},
            {**place, "amount": "7.000", "holdType": "PAYMENT", "metadata": {"b": 2, "a": 1}},
        ],
    }

    assert _fingerprint(orjson.dumps(GROUP)) == _fingerprint(orjson.dumps(again))


ANOTHER_MEANING = {
    "group": GROUP,
    "group's parts turned": {**GROUP, "commands": GROUP["commands"][::-1]},
    "group's part": {**GROUP, "commands": [{**GROUP["commands"][0], "amount": "6"}, GROUP["commands"][1]]},
    "group's metadata": {**GROUP, "metadata": {}},
    "hold": {"commandId": ID, **GROUP["commands"][1]},
    "hold's type": {"commandId": ID, **GROUP["commands"][1], "holdType": "ESCROW"},
    "hold's end": {"commandId": ID, **GROUP["commands"][1], "expiresAt": "2026-11-22T12:00:00Z"},
    "capture": {"commandId": ID, "type": "CaptureHold", "walletId": WALLET, "holdId": OTHER_ID},
    "capture into": {"commandId": ID, "type": "CaptureHold", "walletId": WALLET, "holdId": OTHER_ID, "toWalletId": ID},
    "suspension": {"commandId": ID, "type": "SuspendWallet", "walletId": WALLET},
    "suspension's reason": {"commandId": ID, "type": "SuspendWallet", "walletId": WALLET, "reason": "r"},
    "null that removes": {"commandId": ID, "type": "UpdateMetadata", "walletId": WALLET, "metadata": {"a": None}},
    "null inside": {"commandId": ID, "type": "UpdateMetadata", "walletId": WALLET, "metadata": {}},
    "the command": GOOD,
    "type": {**GOOD, "type": "DebitWallet"},
    "walletId": {**GOOD, "walletId": OTHER_ID},
    "amount": {**GOOD, "amount": "12.5001"},
    "currency": {**GOOD, "currency": "USD"},
    "expectedVersion": {**GOOD, "expectedVersion": 0},
    "reference": {**GOOD, "reference": ""},
    "metadata": {**GOOD, "metadata": {}},
    "metadata's value": {**GOOD, "metadata": {"a": 1}},
    "metadata's type": {**GOOD, "metadata": {"a": "1"}},
    "metadata's order of a list": {**GOOD, "metadata": {"a": [1, 2]}},
    "metadata's other order of a list": {**GOOD, "metadata": {"a": [2, 1]}},
    "transfer": {"commandId": ID, "type": "Transfer", "fromWalletId": WALLET, "toWalletId": OTHER_ID, "amount": "1"},
    "transfer back": {
        "commandId": ID,
        "type": "Transfer",
        "fromWalletId": OTHER_ID,
        "toWalletId": WALLET,
        "amount": "1",
    },
    "create": {"commandId": ID, "type": "CreateWallet", "walletId": WALLET, "ownerId": "o"},
    "ownerId": {"commandId": ID, "type": "CreateWallet", "walletId": WALLET, "ownerId": "O"},
    "initialBalance": {
        "commandId": ID,
        "type": "CreateWallet",
        "walletId": WALLET,
        "ownerId": "o",
        "initialBalance": 1,
    },
}


def test_each_field_that_means_something_makes_another_fingerprint():
    """A reused id with another payload is told from a repeat, whichever field differs."""
    fingerprints = {_fingerprint(orjson.dumps(fields)): name for name, fields in ANOTHER_MEANING.items()}

    assert sorted(fingerprints.values()) == sorted(ANOTHER_MEANING)


def _command(fields: dict[str, Any]) -> Command:
    read = decode(orjson.dumps(fields))
    assert isinstance(read, Received)
    return read.command


def _fingerprint(value: bytes) -> bytes:
    read = decode(value)
    assert isinstance(read, Received)
    return read.fingerprint

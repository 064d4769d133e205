"""The folder `schemas/` is what the models say, and says it in a way that stands alone."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator

from tests.unit.contracts.support import SCHEMAS, credit, references, schema_validator
from worker.cli.schemas import contract_files, write_schemas
from worker.contracts.commands import COMMAND_TYPES, Command
from worker.contracts.events import EVENT_MODELS, EventType
from worker.contracts.schemas.messages import MESSAGES

MESSAGE_FILES = [f"{message.folder}/{message.name}.json" for message in MESSAGES]
SCHEMA_FILES = [path for path in contract_files() if path.endswith(".json") and not path.startswith("examples/")]


def test_the_folder_holds_what_the_models_say():
    """Whoever reads `schemas/` reads the models: no file differs, none is missing, none is left over."""
    made = contract_files()

    on_disk = {
        file.relative_to(SCHEMAS).as_posix(): file.read_text(encoding="utf-8")
        for file in SCHEMAS.rglob("*")
        if file.is_file()
    }

    assert sorted(on_disk) == sorted(made), "run `make schemas`, and delete what it names"
    assert [path for path in made if on_disk[path] != made[path]] == [], "run `make schemas`"


def test_writing_twice_gives_the_same_bytes():
    """A drift test is worth something only if nothing else than the models moves the files."""
    first = contract_files()

    second = contract_files()

    assert first == second
    assert list(first) == sorted(first)


def test_wallex_schemas_writes_the_folder(tmp_path, monkeypatch):
    """`wallex schemas` makes `schemas/` in the current folder, from nothing."""
    monkeypatch.chdir(tmp_path)

    write_schemas()

    written = {
        file.relative_to(tmp_path / "schemas").as_posix(): file.read_text(encoding="utf-8")
        for file in (tmp_path / "schemas").rglob("*")
        if file.is_file()
    }
    assert written == contract_files()


def test_wallex_schemas_names_a_left_over_file_and_keeps_it(tmp_path, monkeypatch, capsys):
    """A file that the contract no longer has is named, with exit code 1; deleting is the reader's."""
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / "schemas" / "events" / "WalletFrozen.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")

    with pytest.raises(typer.Exit) as stopped:
        write_schemas()

    assert stopped.value.exit_code == 1
    assert "schemas/events/WalletFrozen.json" in capsys.readouterr().err
    assert stale.exists()


@pytest.mark.parametrize("path", SCHEMA_FILES)
def test_a_schema_is_2020_12_with_an_id_of_its_own_and_no_reference_outside(path):
    """Each file is complete in itself, and its id names no host."""
    schema = json.loads((SCHEMAS / path).read_text(encoding="utf-8"))

    Draft202012Validator.check_schema(schema)

    folder, name = path.removesuffix(".json").split("/")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:wallex:{folder}:{name}"
    assert schema["title"] == name
    assert schema["description"]
    assert all(reference.startswith("#/$defs/") for reference in references(schema))


@pytest.mark.parametrize("path", MESSAGE_FILES)
def test_a_message_takes_no_field_that_it_does_not_name(path):
    """A misspelt field is refused by the schema too, in camelCase as in every other case."""
    schema = json.loads((SCHEMAS / path).read_text(encoding="utf-8"))

    closed = [schema, *(part for part in schema.get("$defs", {}).values() if part["type"] == "object")]

    assert all(part["additionalProperties"] is False for part in closed)
    assert not [name for part in closed for name in part["properties"] if "_" in name]


def test_the_union_takes_each_command_and_nothing_else():
    """`Command.json` is what may stand on a command topic: exactly the commands, told apart by `type`."""
    validator = schema_validator("commands/Command.json")
    examples = [json.loads(file.read_text()) for file in (SCHEMAS / "examples").glob("*/valid-*.json")]

    taken = {example["type"] for example in examples if validator.is_valid(example)}

    assert taken == {model.__name__ for model in COMMAND_TYPES}
    assert not validator.is_valid(credit(type="DebitWallets"))
    assert not validator.is_valid({**credit(), "ownerId": "customer-17"})


def test_the_tables_name_every_command_and_every_event():
    """The generator goes by `COMMAND_TYPES` and `EVENT_MODELS`: a model that they forget would have no schema."""
    assert get_args(Command) == COMMAND_TYPES
    assert set(EVENT_MODELS) == set(EventType)
    assert all(model.__name__ == event_type for event_type, model in EVENT_MODELS.items())


@pytest.mark.parametrize("event_type", list(EventType))
def test_what_an_event_leaves_out_is_never_null(event_type):
    """An event's optional facts are there or missing; a schema that offered null would make readers check for it."""
    text = (SCHEMAS / "events" / f"{event_type}.json").read_text()

    assert '"null"' not in text
    assert '"reference"' in text


def test_an_error_is_missing_from_a_reply_or_an_object_and_the_command_id_may_be_null():
    """Null stands where there was no id; `error` is left out of an accepted reply."""
    properties = json.loads((SCHEMAS / "replies" / "Reply.json").read_text())["properties"]

    assert properties["error"] == {"$ref": "#/$defs/Error"}
    assert {"type": "null"} in properties["commandId"]["anyOf"]


def test_a_schema_says_the_defaults_that_the_model_fills_in():
    """A sender reads from the schema what a missing field means."""
    properties = json.loads((SCHEMAS / "commands" / "CreateWallet.json").read_text())["properties"]

    assert properties["currency"]["default"] == "USD"
    assert properties["initialBalance"]["default"] == "0.0000"
    assert properties["walletId"]["format"] == "uuid"


def test_no_file_names_a_host_or_a_folder_of_this_machine():
    """What is written down holds wherever it is read; the dialect's own URI is a name."""
    texts = contract_files().values()

    assert not [text for text in texts if "://" in text.replace("https://json-schema.org/draft/2020-12/schema", "")]


def test_yaml_has_no_anchors():
    """A reader finds each thing where it stands."""
    text = contract_files()["asyncapi.yaml"]

    tokens = list(yaml.scan(text))

    assert not [token for token in tokens if isinstance(token, (yaml.AnchorToken, yaml.AliasToken))]

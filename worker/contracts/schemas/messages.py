"""The messages and their JSON Schemas: commands and ticks as they are read, events and replies as they are written.

What a schema accepts is what the model accepts, as far as JSON Schema can say it. What it cannot say stands in the
descriptions: that `5.0` is not an integer here, and how many bytes of metadata there may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from worker.contracts.commands import COMMAND, COMMAND_TYPES
from worker.contracts.events import EVENT_MODELS
from worker.contracts.replies import Reply
from worker.contracts.ticks import ExpireDueHolds

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message: its name, its folder in `schemas/`, its model, and which side of the model is meant."""

    name: str
    folder: str
    model: type[BaseModel]
    mode: JsonSchemaMode


COMMAND_MESSAGES = tuple(Message(model.__name__, "commands", model, "validation") for model in COMMAND_TYPES)
EVENT_MESSAGES = tuple(Message(type_.value, "events", model, "serialization") for type_, model in EVENT_MODELS.items())
REPLY_MESSAGE = Message("Reply", "replies", Reply, "serialization")
TICK_MESSAGES = (Message("ExpireDueHolds", "ticks", ExpireDueHolds, "validation"),)
MESSAGES = (*COMMAND_MESSAGES, *EVENT_MESSAGES, REPLY_MESSAGE, *TICK_MESSAGES)


def message_schema(message: Message) -> dict[str, Any]:
    """The JSON Schema of one message, complete in itself."""
    schema = message.model.model_json_schema(mode=message.mode, schema_generator=_Schema)
    return identified(f"{message.folder}:{message.name}", schema)


def command_union_schema() -> dict[str, Any]:
    """The JSON Schema of whatever may stand on a command topic; `type` says which command it is."""
    schema = COMMAND.json_schema(mode="validation", schema_generator=_Schema)
    head = {"title": "Command", "description": "Any command; `type` says which."}
    return identified("commands:Command", head | schema)


def identified(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Put what a reader wants first at the top of `schema`: dialect, id, title, description."""
    head = {"$schema": DIALECT, "$id": f"urn:wallex:{name}", "title": schema["title"]}
    return {**head, "description": schema["description"], **schema}


class _Schema(GenerateJsonSchema):
    """Pydantic's generator, less what says nothing: titles derived from names, and nulls that are never written."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        generated = super().tagged_union_schema(schema)
        # OpenAPI's word, which strict JSON Schema tools refuse; each command's `type` is a `const` and says the same.
        del generated["discriminator"]
        return generated

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_field_schema(self, schema: core_schema.ModelField) -> JsonSchemaValue:
        never_null = schema.get("serialization_exclude_if")
        inner: Any = schema["schema"]
        if self.mode == "serialization" and never_null and never_null(None) and inner["type"] == "default":
            inner = inner["schema"]
            return self.generate_inner(inner["schema"] if inner["type"] == "nullable" else inner)
        return super().model_field_schema(schema)

"""What the models of events and replies share: how they are written (contract, "Replies", "KurrentDB").

Names are camelCase, a field that the model does not know is a fault, and a field that says nothing is left out where
the contract has it optional (``exclude_if=is_none``). A model is frozen: what was written once stays as it is.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Written(BaseModel):
    """A part of what the worker writes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def is_none(value: object) -> bool:
    """Whether a field says nothing, so that it is left out."""
    return value is None

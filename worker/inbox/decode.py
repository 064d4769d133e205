"""Read a record: a command that can be run, or a refusal that says where and why. Never raises on what was sent.

What is refused here takes no effect and is not stored, so a corrected command may use the same id (contract, "Replies",
promise 2). A record without a readable `commandId` is answered with `commandId: null` and becomes a dead letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from aiokafka import ConsumerRecord
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from worker.contracts.commands import COMMAND, COMMAND_TYPES, Command, PartModel
from worker.contracts.envelope import Envelope, ReplyTopics, read_envelope
from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.replies import ErrorCode
from worker.contracts.times import format_time, from_milliseconds
from worker.domain.rejections import Rejected
from worker.ledger.decide_batch import Outcome, Received
from worker.ledger.reply import rejected_reply

FINGERPRINT_BYTES = 16
REASON_CHARACTERS_MAX = 300

_TYPES = frozenset(model.__name__ for model in COMMAND_TYPES)
_NOT_MEANING = frozenset({"command_id", "not_after"})

_any_uuid = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}").fullmatch
_command_ids_in = re.compile(
    rb'"commandId"\s*:\s*"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"'
).findall


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not run. `command_id` and `type` are None where they could not be read."""

    envelope: Envelope
    command_id: str | None
    type: str | None
    rejected: Rejected
    reply: bytes

    @property
    def outcome(self) -> Outcome:
        """What its sender is told."""
        return Outcome(self.rejected.code, self.reply)


def decode_record(record: ConsumerRecord, reply_topics: ReplyTopics, max_command_bytes: int) -> Received | Refused:
    """Read `record`, whatever it holds."""
    envelope = read_envelope(record.headers, reply_topics)
    if envelope.refused_reply_topic is not None:
        return _refuse(record, envelope, _reply_topic_not_allowed(envelope.refused_reply_topic), max_command_bytes)
    value = record.value
    if value is None:
        return _refuse(record, envelope, _invalid("", "the record has no value"), max_command_bytes)
    if len(value) > max_command_bytes:
        reason = f"the record has {len(value)} bytes; a command has at most {max_command_bytes}"
        return _refuse(record, envelope, _invalid("", reason), max_command_bytes)
    # The escape is the only way for U+0000 into valid JSON, so most records need no closer look.
    if b"\\u0000" in value and _holds_nul(value):
        return _refuse(record, envelope, _invalid("", "U+0000 cannot stand in a text"), max_command_bytes)
    try:
        # By alias alone: a field's Python name is no field of the contract.
        command = COMMAND.validate_json(value, by_alias=True, by_name=False)
    except ValidationError as error:
        return _refuse(record, envelope, _from_validation(error), max_command_bytes)
    return Received(command, fingerprint(command), envelope, from_milliseconds(record.timestamp), record.key)


def fingerprint(command: Command) -> bytes:
    """A hash of what `command` means: everything but its id and `notAfter`, defaults filled in, amounts normalised."""
    meaning = {name: value for name, value in command.__dict__.items() if name not in _NOT_MEANING}
    return blake2b(
        orjson.dumps(meaning, default=_meaning, option=orjson.OPT_SORT_KEYS), digest_size=FINGERPRINT_BYTES
    ).digest()


def _meaning(value: object) -> object:
    """A part of a group by its fields, as a command is; money as text."""
    return value.__dict__ if isinstance(value, PartModel) else str(value)


def find_command_id(value: bytes | None) -> str | None:
    """The command id in a record that must not be parsed, since parsing it may be what killed the process.

    None where several are found: one may stand in the metadata and belong to another command.
    """
    found = set(_command_ids_in(value or b""))
    return found.pop().decode() if len(found) == 1 else None


def refusal_reply(record: ConsumerRecord, command_id: str | None, type_: str | None, rejected: Rejected) -> bytes:
    """The reply to a record that is not run: the record's own time stands in it, so that it is repeated alike."""
    return rejected_reply(command_id, type_, format_time(from_milliseconds(record.timestamp)), rejected)


def _refuse(record: ConsumerRecord, envelope: Envelope, rejected: Rejected, max_command_bytes: int) -> Refused:
    command_id, type_ = _read_id_and_type(record.value, max_command_bytes)
    return Refused(envelope, command_id, type_, rejected, refusal_reply(record, command_id, type_, rejected))


def _read_id_and_type(value: bytes | None, max_command_bytes: int) -> tuple[str | None, str | None]:
    if value is None or len(value) > max_command_bytes:
        return None, None
    try:
        content = from_json(value)
    except ValueError:
        return None, None
    if not isinstance(content, dict):
        return None, None
    command_id, type_ = content.get("commandId"), content.get("type")
    if not isinstance(command_id, str) or not _any_uuid(command_id):
        return None, None
    return command_id.lower(), type_ if isinstance(type_, str) and type_ in _TYPES else None


def _from_validation(error: ValidationError) -> Rejected:
    """The first error that is not about an amount, else the first: InvalidCommand comes before InvalidAmount."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((found for found in errors if found["type"] != INVALID_AMOUNT), None)
    if first is not None:
        return _invalid(_path(first), first["msg"])
    return Rejected(
        ErrorCode.INVALID_AMOUNT, "The amount is not valid.", {"path": _path(errors[0]), "reason": errors[0]["msg"]}
    )


def _path(error: ErrorDetails) -> str:
    # The first step is the name of the command's type, by which its model was chosen; so is a part's, behind its index.
    steps = error["loc"][1:]
    if steps[0:1] == ("commands",):
        steps = steps[:2] + steps[3:]
    return ".".join(map(str, steps))


def _invalid(path: str, reason: str) -> Rejected:
    # A path may hold an unknown field's name, as long as the sender liked.
    details = {"path": path[:REASON_CHARACTERS_MAX], "reason": reason[:REASON_CHARACTERS_MAX]}
    return Rejected(ErrorCode.INVALID_COMMAND, "The command cannot be read.", details)


def _reply_topic_not_allowed(topic: str) -> Rejected:
    message = "Replies may not go to this topic. REPLY_TOPIC_PATTERN says which ones are allowed."
    return Rejected(ErrorCode.REPLY_TOPIC_NOT_ALLOWED, message, {"replyTopic": topic})


def _holds_nul(value: bytes) -> bool:
    try:
        return _has_nul(from_json(value))
    except ValueError:
        return False


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, Sequence) and any(map(_has_nul, value))

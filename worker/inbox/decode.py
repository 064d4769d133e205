"""Read a record: a command that can be run, or a refusal that says where and why. Never raises on what was sent.

What is refused here takes no effect and is not stored, so a corrected command may use the same id (contract, "Replies",
promise 2). A record without a readable `commandId` is answered with `commandId: null` and becomes a dead letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiokafka import ConsumerRecord
from pydantic import ValidationError
from pydantic_core import from_json

from worker.contracts.commands import COMMAND, COMMAND_TYPES, Command
from worker.contracts.envelope import Envelope, ReplyTopics, read_envelope
from worker.contracts.exact_json import Inexact, find_inexact, is_surely_exact
from worker.contracts.replies import ErrorCode
from worker.contracts.times import format_time, from_milliseconds
from worker.domain.fingerprint import fingerprint
from worker.domain.reading import NUL_REASON, has_nul, invalid_command, unreadable
from worker.domain.rejections import Rejected
from worker.ledger.decide_batch import Outcome, Received
from worker.ledger.reply import rejected_reply

_TYPES = frozenset(model.__name__ for model in COMMAND_TYPES)

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
        return _refuse(record, envelope, invalid_command("", "the record has no value"), max_command_bytes)
    if len(value) > max_command_bytes:
        reason = f"the record has {len(value)} bytes; a command has at most {max_command_bytes}"
        return _refuse(record, envelope, invalid_command("", reason), max_command_bytes)
    # The escape is the only way for U+0000 into valid JSON, so most records need no closer look.
    if b"\\u0000" in value and _holds_nul(value):
        return _refuse(record, envelope, invalid_command("", NUL_REASON), max_command_bytes)
    try:
        # By alias alone: a field's Python name is no field of the contract.
        command = COMMAND.validate_json(value, by_alias=True, by_name=False)
    except ValidationError as error:
        rejected = unreadable(error)
        # InvalidCommand comes before InvalidAmount.
        inexact = find_inexact(value) if rejected.code is ErrorCode.INVALID_AMOUNT else None
        return _refuse(record, envelope, rejected if inexact is None else _inexact(inexact), max_command_bytes)
    inexact = None if is_surely_exact(value, _count_fields(command)) else find_inexact(value)
    if inexact is not None:
        return _refuse(record, envelope, _inexact(inexact), max_command_bytes)
    return Received(command, fingerprint(command), envelope, from_milliseconds(record.timestamp), record.key)


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


def _reply_topic_not_allowed(topic: str) -> Rejected:
    message = "Replies may not go to this topic. REPLY_TOPIC_PATTERN says which ones are allowed."
    return Rejected(ErrorCode.REPLY_TOPIC_NOT_ALLOWED, message, {"replyTopic": topic})


def _count_fields(command: Command) -> int:
    """How many fields were given, in the parts of a group too; what stands in metadata is not counted."""
    fields = len(command.model_fields_set)
    return fields if command.type != "Atomic" else fields + sum(len(part.model_fields_set) for part in command.commands)


def _inexact(inexact: Inexact) -> Rejected:
    return invalid_command(".".join(map(str, inexact.path)), inexact.reason)


def _holds_nul(value: bytes) -> bool:
    try:
        return has_nul(from_json(value))
    except ValueError:
        return False

"""A reply as the sender's Python code reads it: `Accepted` or `Rejected`, made for `match`.

A rejection is a value like any other answer. Fields that a later worker may add to its replies are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.contracts.commands import Command
from worker.contracts.envelope import REPLAYED, Headers
from worker.contracts.replies import ErrorCode, HoldState, PartReply, Reply, WalletState


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What both answers say.

    `command_id` and `type` are the command's; `wallets` are those that it names and that exist, the source before the
    target, as they are after it; `hold` is set with a hold command, `parts` with an `Atomic`. `replayed` says that the
    command had run before, and that this is its first reply again.
    """

    command_id: str
    type: str
    processed_at: datetime
    wallets: tuple[WalletState, ...]
    hold: HoldState | None
    parts: tuple[PartReply, ...]
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(_Answer):
    """The command took effect, durably."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Answer):
    """The command took no effect: why, and what there is to act on (contract, `error.code`)."""

    code: ErrorCode
    message: str
    details: Mapping[str, Any]


Result = Accepted | Rejected


def is_of_another(command: Command, reply: Reply) -> bool:
    """Whether `reply` answers another command. One without an id answers a record that could not be read: this one."""
    return reply.command_id not in (None, command.command_id)


def read_result(command: Command, value: bytes | None, headers: Headers) -> Result | None:
    """The answer to `command` in a reply record; pydantic's `ValidationError` where that is no reply.

    None where it answers another command: an expiry is answered under the correlation id of its `PlaceHold`.
    """
    reply = Reply.model_validate_json(value or b"", extra="ignore")
    if is_of_another(command, reply):
        return None
    said: dict[str, Any] = {
        "command_id": command.command_id,
        "type": command.type,
        "processed_at": reply.processed_at,
        "wallets": tuple(reply.wallets),
        "hold": reply.hold,
        "parts": tuple(reply.parts or ()),
        "replayed": dict(headers).get(REPLAYED) == b"true",
    }
    if reply.error is None:
        return Accepted(**said)
    return Rejected(code=reply.error.code, message=reply.error.message, details=reply.error.details, **said)

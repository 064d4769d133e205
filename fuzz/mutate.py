"""Changes to an input that keep its form: JSON that stays JSON, protobuf messages whose fields still parse.

The fuzzer's own changes to bytes hardly ever get through a parser; these do, and then ask what is behind it. Each takes
a random generator, so an input and a seed always give the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from fuzz.decoder import read_input, write_input
from fuzz.kurrentdb import CALLS, read_frames, write_frames

Mutate = Callable[[bytes, int], bytes]

ID = "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01"
OTHER_ID = "3b241101-e2bb-4255-8caf-4136c566a962"
TOKENS = [
    'null true false NaN Infinity 0 -0 -1 1 1.5 1e400 9223372036854775807 9223372036854775808 18446744073709551616 ""',
    '"0" "1" "12.5000" "0.00001" "100000000000000" "-1" "1e3" "\\u0661" "USD" "EUR" "usd" "XXX" "\\u0000" "\\ud800"',
    '"2026-11-22T12:00:00Z" "2026-11-22T12:00:00.123456789+23:59" "0001-01-01T00:00:00+01:00" "9999-12-31T23:59:60Z"',
    '[] {} [[[]]] {"a":null} "CreateWallet" "Transfer" "CaptureHold" "PlaceHold" "UpdateMetadata" "Atomic" "ESCROW"',
    f'"{ID}" "{OTHER_ID}" "{ID.upper()}"',
]
RAW = [token for line in TOKENS for token in line.split()] + ["9" * 400, "[" * 500 + "]" * 500, '"' + "x" * 300 + '"']
NAMES = (
    "commandId type walletId fromWalletId toWalletId holdId amount currency expectedVersion notAfter reference "
    "metadata ownerId initialBalance holdType expiresAt reason commands a"
).split()
HEADER_NAMES = "correlation_id reply_to kafka_replyTopic kafka_correlationId traceparent dlq_attempt x".split()
HEADER_VALUES = (
    None,
    b"",
    b"\xff\x00",
    b"wallet.replies",
    b"wallet.replies.a",
    b"wallet.commands",
    b"y" * 257,
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"12",
)
TEXTS = (
    "",
    "a",
    "$$a",
    "$a",
    ID,
    OTHER_ID,
    "wallet-a",
    "(a+)+$",
    "[",
    "x{99999999999}",
    "application/json",
    "$>",
    "$metadata",
)
NUMBERS = (0, 1, -1, 2, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1, 5)
PLACE = "\x1ahere\x1a"


def mutate_record(data: bytes, chance: random.Random, mutate: Mutate, size: int) -> bytes:
    """Another input of `decoder`."""
    headers, value = read_input(data)
    if chance.random() < 0.15:
        headers = [*headers, (chance.choice(HEADER_NAMES), chance.choice(HEADER_VALUES))]
    try:
        content = json.loads(value)
    except (ValueError, RecursionError):
        return mutate(data, size)
    if chance.random() < 0.15:
        return mutate(data, size)
    raw = chance.choice(RAW)
    changed = _change_json(content, chance)
    try:
        text = json.dumps(changed, ensure_ascii=chance.random() < 0.5).replace(json.dumps(PLACE), raw)
        return write_input(headers, text.encode())[:size]
    except (ValueError, RecursionError):
        return mutate(data, size)


def _change_json(content: Any, chance: random.Random) -> Any:
    """`content` with something in it replaced by `PLACE`, renamed, repeated or taken out."""
    if isinstance(content, dict) and content:
        name = chance.choice(list(content))
        how = chance.random()
        if how < 0.1:
            del content[name]
        elif how < 0.25:
            content[chance.choice(NAMES)] = PLACE
        elif how < 0.35:
            content[chance.choice(NAMES)] = content.pop(name)
        else:
            content[name] = _change_json(content[name], chance)
        return content
    if isinstance(content, list) and content:
        place = chance.randrange(len(content))
        content[place : place + 1] = (
            [content[place]] * chance.choice((0, 2, 3, 60))
            if chance.random() < 0.2
            else [_change_json(content[place], chance)]
        )
        return content
    return PLACE


def mutate_frames(data: bytes, chance: random.Random, mutate: Mutate, size: int) -> bytes:
    """Another input of `kurrentdb`."""
    frames = read_frames(data)
    if not frames or chance.random() < 0.1:
        return mutate(data, size)
    place = chance.randrange(len(frames))
    how = chance.random()
    if how < 0.1:
        del frames[place]
    elif how < 0.25:
        frames.insert(chance.randrange(len(frames) + 1), frames[place])
    else:
        call, message = frames[place]
        frames[place] = call, _change_bytes(message, CALLS[call][1], chance, mutate)
    return write_frames(frames)[:size]


def _change_bytes(data: bytes, kind: type[Message], chance: random.Random, mutate: Mutate) -> bytes:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return mutate(data, len(data) + 64)
    if chance.random() < 0.1:
        return mutate(data, len(data) + 64)
    _change_message(message, chance)
    return message.SerializeToString()


def _change_message(message: Message, chance: random.Random) -> None:
    """Set, clear or repeat one field somewhere in `message`."""
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        message.SetInParent()
        return
    field = chance.choice(fields)
    if chance.random() < 0.1:
        message.ClearField(field.name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        _change_map(getattr(message, field.name), field, chance)
    elif field.label == FieldDescriptor.LABEL_REPEATED:
        _change_repeated(getattr(message, field.name), field, chance)
    elif field.message_type:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _change_message(inner, chance)
    else:
        setattr(message, field.name, _scalar(field, chance))


def _change_repeated(values: Any, field: FieldDescriptor, chance: random.Random) -> None:
    if len(values) and chance.random() < 0.2:
        del values[chance.randrange(len(values))]
    elif not field.message_type:
        values.append(_scalar(field, chance))
    elif len(values) and chance.random() < 0.7:
        _change_message(chance.choice(values), chance)
    else:
        new = values.add()
        if len(values) > 1:
            new.CopyFrom(values[0])


def _change_map(values: Any, field: FieldDescriptor, chance: random.Random) -> None:
    key = chance.choice(("type", "content-type", "a", ""))
    value = field.message_type.fields_by_name["value"]
    if value.message_type:
        _change_message(values[key], chance)
    else:
        values[key] = _scalar(value, chance)


def _scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() + chance.choice((b"", b"\xff")) if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice(field.enum_type.values).number
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice((0.0, -0.0, 1.5, float("nan"), float("inf"), 1e300))
    bits = 32 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    is_signed = kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    return min(max(chance.choice(NUMBERS), low), high)

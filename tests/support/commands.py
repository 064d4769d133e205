"""Commands as an upstream service sends them: plain JSON in Kafka records, keyed by the wallet they are about.

Nothing here uses the worker's models: a test says what travels.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import RecordMetadata

Headers = tuple[tuple[str, bytes | None], ...]
Command = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A record for a command topic. Without `partition` Kafka's own partitioner chooses by the key."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class NotUtf8(str):
    """A header name as a Latin-1 client writes it, for aiokafka's record builder in Python."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def new_id() -> str:
    """An id that nobody else has."""
    return str(uuid4())


def create_wallet(wallet_id: str, initial_balance: str = "100", **fields: Any) -> Command:
    """Open a wallet."""
    return _command("CreateWallet", walletId=wallet_id, ownerId="owner", initialBalance=initial_balance, **fields)


def credit(wallet_id: str, amount: Any = "1", **fields: Any) -> Command:
    """Pay money in."""
    return _command("CreditWallet", walletId=wallet_id, amount=amount, **fields)


def debit(wallet_id: str, amount: Any = "1", **fields: Any) -> Command:
    """Pay money out."""
    return _command("DebitWallet", walletId=wallet_id, amount=amount, **fields)


def transfer(from_wallet_id: str, to_wallet_id: str, amount: Any = "1", **fields: Any) -> Command:
    """Move money."""
    return _command("Transfer", fromWalletId=from_wallet_id, toWalletId=to_wallet_id, amount=amount, **fields)


def place_hold(wallet_id: str, hold_id: str, amount: Any = "1", **fields: Any) -> Command:
    """Reserve money."""
    return _command("PlaceHold", walletId=wallet_id, holdId=hold_id, amount=amount, **fields)


def release_hold(wallet_id: str, hold_id: str, **fields: Any) -> Command:
    """Give a hold free."""
    return _command("ReleaseHold", walletId=wallet_id, holdId=hold_id, **fields)


def capture_hold(wallet_id: str, hold_id: str, **fields: Any) -> Command:
    """Pay out what a hold reserves."""
    return _command("CaptureHold", walletId=wallet_id, holdId=hold_id, **fields)


def expire_hold(wallet_id: str, hold_id: str, **fields: Any) -> Command:
    """End a hold whose time is over."""
    return _command("ExpireHold", walletId=wallet_id, holdId=hold_id, **fields)


def suspend_wallet(wallet_id: str, **fields: Any) -> Command:
    """Let no money out."""
    return _command("SuspendWallet", walletId=wallet_id, **fields)


def reactivate_wallet(wallet_id: str, **fields: Any) -> Command:
    """Lift a suspension."""
    return _command("ReactivateWallet", walletId=wallet_id, **fields)


def close_wallet(wallet_id: str, **fields: Any) -> Command:
    """End an empty wallet."""
    return _command("CloseWallet", walletId=wallet_id, **fields)


def update_metadata(wallet_id: str, metadata: dict[str, Any], **fields: Any) -> Command:
    """Merge into a wallet's metadata."""
    return _command("UpdateMetadata", walletId=wallet_id, metadata=metadata, **fields)


def atomic(*parts: Command, **fields: Any) -> Command:
    """All of `parts` or none; what makes commands of them is left out."""
    kept = [{name: value for name, value in part.items() if name != "commandId"} for part in parts]
    return _command("Atomic", commands=kept, **fields)


def record_of(command: Command, *headers: tuple[str, bytes | None], partition: int | None = None) -> Record:
    """The record that carries `command`, under the key that the contract asks for."""
    first = command.get("commands", [command])[0]
    key = first.get("fromWalletId") or first["walletId"]
    return Record(key.encode(), json.dumps(command).encode(), headers, partition)


def odd_batch(producer: AIOKafkaProducer, record: Record) -> BatchBuilder:
    """A batch of one record, which has a header besides whose name is not UTF-8; for `send_batch`."""
    batch = producer.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 2**20)
    headers = [(NotUtf8("name"), b""), *record.headers]
    batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    return batch


# aiokafka takes no record without key and value from a caller, though Kafka has them.
_NULL = object()


def serialize_value(value: object) -> bytes | None:
    """The `value_serializer` of a producer for `publish`."""
    return None if value is _NULL else cast(bytes, value)


async def publish(producer: AIOKafkaProducer, topic: str, records: Sequence[Record]) -> list[RecordMetadata]:
    """Publish `records` in order, and return where each of them stands."""
    waiting = []
    try:
        for record in records:
            value = _NULL if record.value is None else record.value
            where = {"key": record.key, "partition": record.partition}
            waiting.append(await producer.send(topic, value, headers=list(record.headers), **where))
    except KafkaError:
        # Nobody would ask any more what became of those before it.
        await asyncio.gather(*waiting, return_exceptions=True)
        raise
    return list(await asyncio.gather(*waiting))


def _command(type_: str, **fields: Any) -> Command:
    return {"commandId": new_id(), "type": type_} | fields

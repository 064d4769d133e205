"""Input at its worst, in bulk: broken records among good ones, and the largest commands that are legal.

Every record is answered as the contract says, the good ones are unharmed, and memory stays bounded. The largest legal
load is `WALLEX_LARGE_COMMANDS` groups (80) of a hundred parts, whose every event carries the wallet's whole metadata.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.commands import (
    Record,
    atomic,
    create_wallet,
    credit,
    new_id,
    record_of,
    serialize_value,
    update_metadata,
)
from tests.support.invariants import check
from tests.support.replies import code, content
from tests.support.workers import Worker
from tests.support.world import World

BROKEN = 10_000
GOOD_EVERY = 10
LARGE_EVERY = 3_000
MESSAGE_BYTES_MAX = 12_000_000
DEAD_LETTER_BYTES_MAX = 512 * 1024
ILLEGAL_MB_MAX = 250
LEGAL_MB_MAX = 400
LARGE_COMMANDS = int(os.environ.get("WALLEX_LARGE_COMMANDS", "80"))
LARGE_WALLETS = 16
PARTS = 100
MANY_HEADERS = tuple((f"h{number % 97}", None if number % 2 else b"\xff\x00") for number in range(5_000))


def peak_mb(worker: Worker) -> float:
    """The most memory that the process ever had, in MiB."""
    lines = Path(f"/proc/{worker._process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@asynccontextmanager
async def taking_large_records(world: World) -> AsyncIterator[None]:
    """Let the command topic take what a careless operator might allow, and inside the block send it."""
    configs = {"max.message.bytes": str(MESSAGE_BYTES_MAX)}
    await world.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, world.command_topic, configs)])
    usual = world.producer
    world.producer = AIOKafkaProducer(
        bootstrap_servers=world.bootstrap_servers,
        acks="all",
        linger_ms=2,
        max_request_size=MESSAGE_BYTES_MAX,
        value_serializer=serialize_value,
    )
    await world.producer.start()
    try:
        yield
    finally:
        await world.producer.stop()
        world.producer = usual


def spelt(wallet: str, name: str, raw: str) -> bytes:
    """A credit with one more field, written as the JSON text `raw`, behind all others."""
    return f'{json.dumps(credit(wallet))[:-1]}, "{name}": {raw}}}'.encode()


def instead(wallet: str, name: str, raw: str) -> bytes:
    """A credit whose field `name` is written as the JSON text `raw`."""
    return json.dumps({**credit(wallet), name: "?"}).replace('"?"', raw).encode()


def broken(wallet: str) -> dict[str, tuple[Record, str, bool]]:
    """Records that are refused, each with its code and whether its command id cannot be read."""
    values: dict[str, tuple[bytes | None, str, bool]] = {
        "tombstone": (None, "InvalidCommand", True),
        "empty": (b"", "InvalidCommand", True),
        "not UTF-8": (json.dumps(credit(wallet)).encode().replace(b"Credit", b"\xff\xfe"), "InvalidCommand", True),
        "cut off": (json.dumps(credit(wallet)).encode()[:-9], "InvalidCommand", True),
        "5,000 deep": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "InvalidCommand", True),
        "NaN": (b"NaN", "InvalidCommand", True),
        "an amount that is NaN": (instead(wallet, "amount", "NaN"), "InvalidAmount", False),
        "an amount that is a float": (instead(wallet, "amount", "1.5"), "InvalidAmount", False),
        "two amounts": (spelt(wallet, "amount", '"1"'), "InvalidCommand", False),
        "a number that is not kept": (spelt(wallet, "metadata", '{"a": 1e-400}'), "InvalidCommand", False),
        "an amount of 2^64": (instead(wallet, "amount", str(2**64)), "InvalidAmount", False),
        "a version of 2^63": (spelt(wallet, "expectedVersion", str(2**63)), "InvalidCommand", False),
        "two ids, the last one none": (spelt(wallet, "commandId", "7"), "InvalidCommand", True),
        "an unknown field": (spelt(wallet, "note", "1"), "InvalidCommand", False),
        "U+0000": (spelt(wallet, "reference", '"\\u0000"'), "InvalidCommand", False),
    }
    return {name: (Record(wallet.encode(), value), why, lost) for name, (value, why, lost) in values.items()}


def large(wallet: str) -> dict[str, tuple[Record, str, bool]]:
    """As `broken`, by the megabyte."""
    ten_mb = json.dumps(credit(wallet, reference="x" * 10_000_000)).encode()
    return {
        "100,000 deep": (Record(wallet.encode(), b"[" * 100_000), "InvalidCommand", True),
        "10 MB": (Record(wallet.encode(), ten_mb), "InvalidCommand", True),
        "thousands of headers on nothing": (Record(wallet.encode(), None, MANY_HEADERS), "InvalidCommand", True),
    }


def odd_but_good(wallet: str, number: int) -> Record:
    """A credit that runs, whatever stands around it."""
    if number % 100 == 0:
        return record_of(credit(wallet), *MANY_HEADERS)
    if number % 2:
        return record_of(credit(wallet), ("x", None), ("traceparent", b"\xff"), ("kafka_correlationId", None))
    return record_of(credit(wallet))


async def test_ten_thousand_broken_records_are_answered_and_the_good_ones_among_them_unharmed(world):
    """Each has the reply that the contract says; a dead letter where no command id could be read, and only there."""
    replies, dead_letters = await world.topic(world.reply_topic), await world.topic(world.dlq_topic)
    wallet = new_id()
    records, expected, dead = [record_of(create_wallet(wallet))], [None], Counter()
    # A refusal is not stored, so the same record may come a thousand times.
    small, big = [*broken(wallet).values()], [*large(wallet).values()]
    for number in range(BROKEN):
        is_time_for_large = number % LARGE_EVERY == 0
        for record, why, lost in big if is_time_for_large else [small[number % len(small)]]:
            records.append(record)
            expected.append(why)
            dead.update([sha256((record.value or b"")[:DEAD_LETTER_BYTES_MAX]).digest()] if lost else [])
        if number % GOOD_EVERY == 0:
            records.append(odd_but_good(wallet, number // GOOD_EVERY))
            expected.append(None)
    worker = world.start("a")

    async with taking_large_records(world):
        found = await replies.until_answered(await world.send(records))

    peak = peak_mb(worker)
    assert await worker.stop() == 0
    wrong = [(n, code(reply)) for n, reply in enumerate(found) if code(reply) != expected[n]]
    assert wrong[:5] == []
    letters = await dead_letters.until_count(dead.total())
    assert Counter(sha256(letter.value or b"").digest() for letter in letters) == dead
    accepted = expected.count(None)
    books = await check(world, replies)
    assert (books.wallets[wallet]["version"], books.wallets[wallet]["balance"]) == (accepted - 1, 99 + accepted)
    assert peak < ILLEGAL_MB_MAX


async def test_the_largest_legal_commands_in_bulk_leave_memory_bounded(world):
    """A small group makes large events: as many as fit run at once, and no more are kept than the pipeline holds."""
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(LARGE_WALLETS)]
    worker = world.start("a")
    opening = [create_wallet(wallet, metadata={"a": "x" * 4_000, "b": "y" * 4_000}) for wallet in wallets]
    await replies.until_answered(await world.send(opening))
    parts = {"reference": "r" * 255, "metadata": {"m": "z" * 200}}
    groups = [
        atomic(*(credit(wallets[number % LARGE_WALLETS], **parts) for _ in range(PARTS)))
        for number in range(LARGE_COMMANDS)
    ]
    whole = [update_metadata(wallet, {"a": "w" * 4_000}, reference="r" * 255) for wallet in wallets]
    assert max(len(json.dumps(group)) for group in groups) > 50_000

    found = await replies.until_answered(await world.send([*groups, *whole]))

    peak = peak_mb(worker)
    assert await worker.stop() == 0
    assert {code(reply) for reply in found} == {None}
    assert content(found[0])["wallets"][0]["version"] == PARTS
    await check(world, replies)
    assert peak < LEGAL_MB_MAX, f"{peak:.0f} MiB"

"""A record that a consumer's library cannot read: it costs nobody else a command."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from tests.support.commands import Command, NotUtf8, Record, create_wallet, credit, new_id, record_of
from tests.support.invariants import check
from tests.support.replies import code
from tests.support.world import World

CREDITS = 40


def batch_of(world: World, command: Command) -> BatchBuilder:
    """A batch of one record with a header whose name is not UTF-8."""
    batch = world.producer.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 2**20)
    record, headers = record_of(command), [(NotUtf8("name"), b""), ("correlation_id", b"odd")]
    batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    return batch


def credits_to(wallets: Sequence[str]) -> list[Record]:
    """Credits to each wallet, each wallet's in a partition of its own."""
    return [record_of(credit(wallet), partition=place) for place, wallet in enumerate(wallets) for _ in range(CREDITS)]


async def open_wallets(world: World) -> tuple[list[str], list[bytes]]:
    """A wallet for each partition, and the ids of what was sent."""
    wallets = [new_id() for _ in range(world.partitions)]
    created = [record_of(create_wallet(wallet), partition=place) for place, wallet in enumerate(wallets)]
    return wallets, await world.send(created)


async def test_a_header_name_that_is_not_utf_8_costs_no_command(world):
    """The broker takes it; its own command runs too, and everybody's on all partitions."""
    replies = await world.topic(world.reply_topic)
    wallets, sent = await open_wallets(world)
    sent += await world.send(credits_to(wallets))
    odd = await world.producer.send_batch(batch_of(world, credit(wallets[0])), world.command_topic, partition=0)
    await odd
    sent += await world.send(credits_to(wallets))

    worker = world.start("a")
    found = await replies.until_answered([*sent, b"odd"])

    assert {code(reply) for reply in found} == {None}
    assert await worker.stop() == 0
    books = await check(world, replies)
    assert [books.wallets[wallet]["balance"] for wallet in wallets] == [
        100 + 2 * CREDITS + (place == 0) for place in range(world.partitions)
    ]

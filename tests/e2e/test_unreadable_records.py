"""A record that a consumer's library cannot read: it costs nobody else a command."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.commands import Record, create_wallet, credit, new_id, odd_batch, record_of
from tests.support.invariants import check
from tests.support.replies import code
from tests.support.world import World

CREDITS = 40


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
    odd = odd_batch(world.producer, record_of(credit(wallets[0]), ("correlation_id", b"odd")))
    await (await world.producer.send_batch(odd, world.command_topic, partition=0))
    sent += await world.send(credits_to(wallets))

    worker = world.start("a")
    found = await replies.until_answered([*sent, b"odd"])

    assert {code(reply) for reply in found} == {None}
    assert await worker.stop() == 0
    books = await check(world, replies)
    assert [books.wallets[wallet]["balance"] for wallet in wallets] == [
        100 + 2 * CREDITS + (place == 0) for place in range(world.partitions)
    ]

"""What Elasticsearch may do to a projector under load: take nothing for a while, or lose what it had.

In the end the documents equal the rows, one for one; meanwhile one line says what is waited for, and one that it is
over. Commands never notice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from structlog.testing import capture_logs

from tests.support.commands import Command, create_wallet, credit, new_id
from tests.support.documents import Documents, documents_of
from tests.support.invariants import check
from tests.support.load import Load
from tests.support.replies import code
from tests.support.workers import eventually
from worker.projection.index import find_index

CREDITS = 50
NO_REQUEST_FITS = {"indices.breaker.total.limit": "1mb"}
"""The node believes that its memory is used up, and answers bulks with 429 as it would under too many of them."""

Trouble = Callable[[Documents], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def blocked(block: str, documents: Documents) -> AsyncIterator[None]:
    """Let nothing be written into the statement inside the block."""
    settings = partial(documents.client.indices.put_settings, index=f"{documents.projections[1].alias}-000001")
    await settings(settings={block: True})
    try:
        yield
    finally:
        await settings(settings={block: None})


@asynccontextmanager
async def rejecting(documents: Documents) -> AsyncIterator[None]:
    """Let the whole server reject bulks inside the block."""
    settings = documents.client.cluster.put_settings
    await settings(persistent=NO_REQUEST_FITS)
    try:
        yield
    finally:
        await settings(persistent=dict.fromkeys(NO_REQUEST_FITS))


@asynccontextmanager
async def wiped(wipe: Callable[[Documents], Awaitable[None]], documents: Documents) -> AsyncIterator[None]:
    """Take something away that nobody brings back."""
    await wipe(documents)
    yield


async def wipe_index(documents: Documents) -> None:
    """Delete the wallets."""
    await documents.client.indices.delete(index=f"{documents.projections[0].alias}-000001")


async def wipe_checkpoint(documents: Documents) -> None:
    """Delete what says how far the statement has come."""
    index = await find_index(documents.client, documents.projections[1])
    assert index is not None
    await documents.client.delete(index=index.name, id=index.checkpoint_id)


TROUBLES: dict[str, Trouble] = {
    "cluster_block_exception": partial(blocked, "index.blocks.write"),
    "disk usage exceeded flood-stage watermark": partial(blocked, "index.blocks.read_only_allow_delete"),
    "circuit_breaking_exception": rejecting,
    "no such index": partial(wiped, wipe_index),
    "document missing": partial(wiped, wipe_checkpoint),
}
"""By what the projector's line says of it."""


async def test_whatever_elasticsearch_refuses_or_loses_documents_equal_rows_in_the_end(make_world, start_kurrentdb):
    """A block, a full disk, rejected bulks, a deleted index, a deleted checkpoint, in turn: a line for each."""
    world = await make_world(KURRENTDB_URI=(await start_kurrentdb()).uri)
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")

    with capture_logs() as logs:
        async with documents_of(world) as documents, documents.projecting():
            await load.open_wallets()
            await eventually(lambda: lines(logs, "projection_following"), "the projector's start")
            async with load.running():
                for number, trouble in enumerate(TROUBLES.values(), start=1):
                    async with trouble(documents):
                        await until_lines(logs, "projection_waits", number)
                        await load.more()
                    await until_lines(logs, "projection_goes_on", number)
            assert await worker.stop() == 0
            await documents.check(await check(world, replies))

    reasons = [line["reason"] for line in lines(logs, "projection_waits")]
    assert len(reasons) == len(TROUBLES)
    assert all(text in reason for text, reason in zip(TROUBLES, reasons, strict=True)), reasons
    assert {code(reply) for reply in replies.records} <= {None, "InsufficientFunds"}


async def test_a_checkpoint_that_is_wiped_between_two_projectors_is_no_loss(make_world, start_kurrentdb):
    """The next one follows from the start: what is there already stays as it is, and what is new comes behind it."""
    world = await make_world(KURRENTDB_URI=(await start_kurrentdb()).uri)
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    worker = world.start("a")

    with capture_logs() as logs:
        async with documents_of(world) as documents:
            await replies.until_answered(await world.send([create_wallet(wallet), *some_credits(wallet)]))
            async with documents.projecting():
                await documents.check(await check(world, replies))
            await wipe_checkpoint(documents)
            await replies.until_answered(await world.send(some_credits(wallet)))
            for _ in range(2):
                async with documents.projecting():
                    await documents.check(await check(world, replies))

    assert await worker.stop() == 0
    first, wiped_away, kept = (line["after"] for line in lines(logs, "projection_following"))
    assert (first, wiped_away) == (None, None)
    assert kept is not None


def some_credits(wallet: str) -> list[Command]:
    """Payments in, all to one wallet."""
    return [credit(wallet) for _ in range(CREDITS)]


def lines(logs: list[Any], event: str) -> list[Any]:
    """The log lines of `event`."""
    return [line for line in logs if line["event"] == event]


async def until_lines(logs: list[Any], event: str, count: int) -> None:
    """Wait until the projector has said `event` so often."""
    await eventually(lambda: len(lines(logs, event)) >= count, f"{count} lines {event!r}")

"""Kafka delivers again what was done before, in whole or in part, mixed with what is new: each event is there once.

Nor does it become slow: what is counted are append calls that were refused and events appended for another worker,
each of which costs waiting.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from uuid import UUID

import pytest
from esdbclient import EventStoreDBClient
from esdbclient import NewEvent as StoredEvent

from tests.support.commands import create_wallet, credit, new_id, transfer
from tests.support.invariants import check
from tests.support.postgres import administrator
from tests.support.replies import header
from worker.database import create_engine
from worker.outbox.backfill import load_runs
from worker.outbox.run import Run
from worker.settings import Settings

WALLETS = 12
TRANSFERS = 400
RECOVERY_S_MAX = 10.0
"""A second for each batch that was left behind would be more; a busy machine takes six for all."""


def some_transfers(wallets: list[str], count: int) -> list[dict]:
    """Transfers between wallets chosen at random."""
    return [transfer(*random.sample(wallets, 2), "0.0001") for _ in range(count)]


async def test_a_batch_that_was_done_comes_again_with_new_commands_on_its_wallets(world):
    """The old ones are answered as before and prove themselves in one go, the new ones run behind them."""
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(WALLETS)]
    # Without an instance id it leaves the group as it stops, so that the offsets can be set by hand.
    first = world.start("a", KAFKA_GROUP_INSTANCE_ID="")
    old = await world.send([*map(create_wallet, wallets), *some_transfers(wallets, TRANSFERS)])
    await replies.until_answered(old)
    assert await first.stop() == 0

    await world.commit(dict.fromkeys(range(world.partitions), 0))
    new = await world.send(some_transfers(wallets, TRANSFERS))
    second = world.start("a")
    await replies.until_answered(new)

    refused = await second.metric("wallex_appends_refused_total")
    assert await second.stop() == 0
    await check(world, replies)
    assert all([header(answer, "replayed") for answer in replies.to(id_)] == [None, b"true"] for id_ in old)
    assert all([header(answer, "replayed") for answer in replies.to(id_)] == [None] for id_ in new)
    assert refused == 0


@pytest.mark.parametrize("appended", ["nothing", "some streams", "a part of a stream"])
async def test_batches_that_were_committed_and_appended_in_part(make_world, start_kurrentdb, appended):
    """Killed while the event store was away, the next worker writes what lacks, at once, and new events behind it."""
    kurrentdb = await start_kurrentdb()
    world = await make_world(KURRENTDB_URI=kurrentdb.uri)
    replies = await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(WALLETS)]
    first = world.start("a")
    await replies.until_answered(await world.send(map(create_wallet, wallets)))
    await kurrentdb.stop()
    old = await world.send(some_transfers(wallets, TRANSFERS))
    await first.logged("server_lost")
    await until_nothing_more_is_decided(world)
    first.kill()
    await start_kurrentdb(port=int(kurrentdb.target.rpartition(":")[2]))
    runs = await committed_and_not_appended(world)
    for run in [] if appended == "nothing" else runs[::2]:
        append(world, run.until(run.first) if appended == "a part of a stream" else run)

    new = await world.send(some_transfers(wallets, TRANSFERS))
    second = world.start("a")
    await second.assigned()
    began = time.monotonic()
    await replies.until_answered([*old, *new])
    took_s = time.monotonic() - began

    assert await second.stop() == 0
    await check(world, replies)
    assert took_s < RECOVERY_S_MAX


async def test_a_duplicate_of_an_old_command_beside_a_new_one(world):
    """In one batch, on one wallet: the old one's event is there, the new one's comes behind it."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    old = [create_wallet(wallet), *(credit(wallet) for _ in range(20))]
    first = world.start("a")
    await replies.until_answered(await world.send(old))
    assert await first.stop() == 0

    mixed = [command for place in range(20) for command in (old[place + 1], credit(wallet))]
    second = world.start("a")
    sent = await world.send(mixed)
    await replies.until_answered(sent)

    refused = await second.metric("wallex_appends_refused_total")
    assert await second.stop() == 0
    books = await check(world, replies)
    assert books.wallets[wallet]["version"] == 40
    assert [header(replies.to(id_)[0], "replayed") for id_ in sent] == [b"true", None] * 20
    assert refused == 0


async def test_a_command_that_is_sent_twice_in_a_row_runs_once(world):
    """The second one finds the first in its own batch, and the batch need not be tried again for it."""
    replies = await world.topic(world.reply_topic)
    wallet = new_id()
    twice = [command for _ in range(30) for command in [credit(wallet)] * 2]
    sent = await world.send([create_wallet(wallet), *twice])

    worker = world.start("a")
    await replies.until_answered(sent)

    assert await worker.stop() == 0
    assert (await check(world, replies)).wallets[wallet]["version"] == 30
    assert [header(replies.to(id_)[0], "replayed") for id_ in sent[1:]] == [None, b"true"] * 30
    assert worker.lines("batch_conflict") + worker.lines("batch_bisected") == []


async def until_nothing_more_is_decided(world) -> None:
    """Wait until the pipeline is full: the number of decided commands has stayed the same for a second."""
    seen, since = -1, time.monotonic()
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        while time.monotonic() - since < 1:
            decided = await connection.fetchval("SELECT count(*) FROM commands")
            if decided != seen:
                seen, since = decided, time.monotonic()
            await asyncio.sleep(0.1)


async def committed_and_not_appended(world) -> list[Run]:
    """What each stream lacks of its wallet's ledger, made from the ledger."""
    async with administrator(world.environment, world.environment["DB_NAME"]) as connection:
        versions = {str(row["id"]): row["version"] for row in await connection.fetch("SELECT id, version FROM wallets")}
    streams = await world.streams(list(versions))
    engine = create_engine(Settings.load(world.environment))
    try:
        return list((await load_runs(engine, {id_: (len(streams[id_]), at) for id_, at in versions.items()})).values())
    finally:
        await engine.dispose()


def append(world, run: Run) -> None:
    """Append a run as a worker would have."""
    client = EventStoreDBClient(world.environment["KURRENTDB_URI"])
    events = [
        StoredEvent(event.type, event.data, metadata=json.dumps(event.properties).encode(), id=UUID(event.event_id))
        for event in run.events
    ]
    try:
        client.append_to_stream(f"wallet-{run.wallet_id}", current_version=run.first - 1, events=events)
    finally:
        client.close()

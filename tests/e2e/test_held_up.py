"""What holds up one wallet or one partition must not hold up the others, and is never "fixed" by force."""

from __future__ import annotations

import asyncio

from esdbclient import EventStoreDBClient, StreamState
from esdbclient import NewEvent as StoredEvent

from tests.support.commands import create_wallet, credit, new_id, record_of, transfer
from tests.support.foreign import locked
from tests.support.invariants import check
from tests.support.replies import code, content


async def test_a_foreign_lock_holds_up_its_wallet_and_no_other(world):
    """The other wallets' commands are answered meanwhile, in its partition and elsewhere; its own follow, in order."""
    replies = await world.topic(world.reply_topic)
    held, neighbour, stranger, other = (new_id() for _ in range(4))
    worker = world.start("a")
    opening = [(held, 0), (neighbour, 0), (stranger, 1), (other, 2)]
    await replies.until_answered(
        await world.send(record_of(create_wallet(id_), partition=partition) for id_, partition in opening)
    )

    async with locked(world, held):
        mixed = await world.send(
            [
                record_of(credit(held), partition=0),
                record_of(credit(neighbour), partition=0),
                record_of(transfer(held, stranger, 5), partition=0),
                record_of(credit(held), partition=0),
                record_of(credit(stranger), partition=1),
            ]
        )
        await replies.until_answered([mixed[1]])
        # Parked by now: nothing holds up the other partitions any more, though the lock is still there.
        await worker.logged("commands_parked")
        await replies.until_answered(
            await world.send(record_of(transfer(other, neighbour), partition=2) for _ in range(10))
        )
        assert not [id_ for id_ in (mixed[0], mixed[2], mixed[3]) if replies.to(id_)]
        assert (await world.committed())[0] < 4
    found = await replies.until_answered(mixed)

    assert await worker.stop() == 0
    await check(world, replies)
    assert [content(found[place])["wallets"][0]["version"] for place in (0, 2, 3)] == [1, 2, 3]
    assert {code(reply) for reply in found} == {None}


async def test_a_foreign_event_in_a_wallets_stream_stops_its_partition_alone(world):
    """The offset is kept, /readyz says why, the other partitions go on, and the stream stays as it is."""
    replies = await world.topic(world.reply_topic)
    spoilt, healthy = new_id(), new_id()
    worker = world.start("a")
    opening = [record_of(create_wallet(spoilt), partition=0), record_of(create_wallet(healthy), partition=1)]
    await replies.until_answered(await world.send(opening))
    await worker.until_ready()
    await asyncio.to_thread(put_foreign_event, world.environment["KURRENTDB_URI"], spoilt)

    sent = await world.send([record_of(credit(spoilt), partition=0)])
    line = await worker.logged("partition_stopped")
    after = await world.send([record_of(credit(healthy), partition=1) for _ in range(10)])
    await replies.until_answered(after)

    status, page = await worker.ready()
    assert (line["offset"], (await world.committed())[0]) == (1, 1)
    assert replies.to(sent[0]) == []
    assert (status, page["failing"]) == (503, ["partitions"])
    assert "wallex verify" in page["checks"]["partitions"]
    assert worker.lines("stores_contradict")[0]["wallet_id"] == spoilt
    assert [event.type for event in (await world.streams([spoilt]))[spoilt]] == ["WalletCreated", "Foreign"]
    assert await worker.stop() == 0


def put_foreign_event(uri: str, wallet: str) -> None:
    """Write into a wallet's stream what no worker made."""
    client = EventStoreDBClient(uri)
    try:
        foreign = StoredEvent("Foreign", b"{}")
        client.append_to_stream(f"wallet-{wallet}", current_version=StreamState.ANY, events=[foreign])
    finally:
        client.close()

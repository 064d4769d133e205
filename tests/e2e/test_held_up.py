"""What holds up one wallet or one partition must not hold up the others, and is never "fixed" by force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from esdbclient import EventStoreDBClient, StreamState
from esdbclient import NewEvent as StoredEvent

from tests.support.command_line import Done, wallex
from tests.support.commands import create_wallet, credit, new_id, record_of, transfer
from tests.support.foreign import locked
from tests.support.invariants import check
from tests.support.postgres import administrator
from tests.support.replies import code, content, header
from tests.support.world import World


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


async def test_a_foreign_event_in_a_wallets_stream_quarantines_that_wallet_alone(world):
    """Its partition goes on, for others; what took effect is a dead letter; other workers refuse its commands, too."""
    replies, letters = await world.topic(world.reply_topic), await world.topic(world.dlq_topic)
    spoilt, healthy = new_id(), new_id()
    worker = world.start("a")
    opening = [record_of(create_wallet(id_), partition=0) for id_ in (spoilt, healthy)]
    await replies.until_answered(await world.send(opening))
    await asyncio.to_thread(put_foreign_event, world, spoilt)

    took_effect, *after = await world.send(
        [record_of(credit(spoilt), partition=0), *(record_of(credit(healthy), partition=0) for _ in range(10))]
    )
    assert {code(reply) for reply in await replies.until_answered(after)} == {None}
    (letter,) = await letters.until_count(1)
    refused = await replies.until_answered(await world.send([record_of(credit(spoilt), partition=0)]))

    assert (worker.lines("wallet_quarantined")[0]["wallet_id"], replies.to(took_effect)) == (spoilt, [])
    assert header(letter, "dlq_error_code") == b"WalletQuarantined"
    assert (await worker.ready())[0] == 200
    await worker.until_metric("wallex_wallets_quarantined", 1)
    assert await worker.stop() == 0
    assert (await world.committed())[0] == 14
    other = world.start("b")
    refused += await replies.until_answered(await world.send([record_of(transfer(healthy, spoilt), partition=1)]))
    assert [code(reply) for reply in refused] == ["WalletQuarantined"] * 2
    assert [event.type for event in (await world.streams([spoilt]))[spoilt]] == ["WalletCreated", "Foreign"]
    assert await other.stop() == 0


async def test_a_wallet_whose_lost_commit_is_back_is_released_and_answered(world):
    """As an operator does it after a failover that lost a commit: look, restore Postgres, release, replay."""
    replies, letters = await world.topic(world.reply_topic), await world.topic(world.dlq_topic)
    wallet, at_work = new_id(), world.start("a")
    opening = [record_of(one, partition=0) for one in (create_wallet(wallet, "100"), credit(wallet, "5"))]
    await replies.until_answered(await world.send(opening))
    assert await at_work.stop() == 0
    async with administrator(world.environment, world.environment["DB_NAME"]) as database:
        lost = await taken_out(database, wallet)
    at_work = world.start("a")
    (waits,) = await world.send([record_of(credit(wallet, "7"), partition=0)])
    await letters.until_count(1)

    (line,) = (await quarantine(world, "list", "--json")).objects
    refused = await quarantine(world, "release", wallet)
    assert (line["walletId"], refused.returncode) == (wallet, 1)
    assert "revision 1 id" in refused.stdout and "not released" in refused.stderr

    async with administrator(world.environment, world.environment["DB_NAME"]) as database:
        await taken_out(database, wallet)
        await put_back(database, lost)
    assert (await quarantine(world, "release", wallet)).returncode == 0
    assert (await asyncio.to_thread(wallex, world.environment, "dlq", "replay", "--all")).returncode == 0

    (answer,) = await replies.until_answered([waits])
    assert (code(answer), content(answer)["wallets"][0]["balance"]) == (None, "112.0000")
    assert (await quarantine(world, "release", wallet)).returncode == 1
    (after,) = await replies.until_answered(await world.send([record_of(credit(wallet), partition=0)]))
    assert (code(after), content(after)["wallets"][0]["version"]) == (None, 3)
    assert await at_work.stop() == 0
    stream = (await world.streams([wallet]))[wallet]
    assert [event.type for event in stream] == ["WalletCreated", *["WalletCredited"] * 3]


Rows = dict[str, list[Any]]


async def taken_out(database: asyncpg.Connection, wallet: str) -> Rows:
    """Lose the last commit of a wallet, a credit at version 1, as a standby has that lagged; return what it wrote."""
    written: Rows = {"wallets": await database.fetch("SELECT * FROM wallets WHERE id = $1::uuid", wallet)}
    entry = "DELETE FROM ledger WHERE wallet_id = $1::uuid AND version = 1 RETURNING *"
    written["ledger"] = await database.fetch(entry, wallet)
    command = "DELETE FROM commands WHERE command_id = $1 RETURNING *"
    written["commands"] = await database.fetch(command, written["ledger"][0]["command_id"])
    await database.execute("UPDATE wallets SET version = 0, balance = 100 WHERE id = $1::uuid", wallet)
    return written


async def put_back(database: asyncpg.Connection, written: Rows) -> None:
    """Restore what was lost; the wallet stays quarantined."""
    for table in ("commands", "ledger"):
        await database.copy_records_to_table(table, records=written[table], columns=list(written[table][0].keys()))
    (wallet,) = written["wallets"]
    await database.execute(
        "UPDATE wallets SET version = $2, balance = $3, updated_at = $4 WHERE id = $1",
        *(wallet[column] for column in ("id", "version", "balance", "updated_at")),
    )


@contextmanager
def stream_client(world: World) -> Iterator[EventStoreDBClient]:
    """A client of the world's KurrentDB."""
    client = EventStoreDBClient(world.environment["KURRENTDB_URI"])
    try:
        yield client
    finally:
        client.close()


def put_foreign_event(world: World, wallet: str) -> None:
    """Write into a wallet's stream what no worker made."""
    with stream_client(world) as client:
        foreign = StoredEvent("Foreign", b"{}")
        client.append_to_stream(f"wallet-{wallet}", current_version=StreamState.ANY, events=[foreign])


async def quarantine(world: World, *arguments: str) -> Done:
    """`wallex quarantine …` as an operator types it."""
    return await asyncio.to_thread(wallex, world.environment, "quarantine", *arguments)

"""Postgres and KurrentDB of one installation, and of two: nothing is written where they do not belong together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime

import pytest

from tests.integration.kurrentdb.standin import StandIn
from tests.support.beside import beside
from tests.support.commands import create_wallet, new_id
from tests.support.installation import (
    Start,
    client_of,
    forget_installation,
    ids,
    kurrentdbs,
    make_anew,
    streams_in,
    times_named,
)
from tests.support.ledger import balances, engine_of
from tests.support.outbox import open_book, received
from tests.support.postgres import migrated_database
from worker.database import raw_connection
from worker.errors import ForeignStore, NotDoneError, Unavailable
from worker.ledger.batch import record_failure, run_batch
from worker.ledger.decide_batch import Failed
from worker.outbox.event_store import EventStore
from worker.outbox.installation import Installation, write_id
from worker.outbox.run import Run
from worker.retry import until_available

PROCESSES = 8


@pytest.fixture
async def start(tmp_path) -> AsyncIterator[Start]:
    """Start KurrentDBs."""
    async with kurrentdbs(tmp_path) as start:
        yield start


@pytest.fixture
async def kurrentdb(start) -> StandIn:
    """A KurrentDB that holds nothing."""
    return await start("own")


async def check(environment, uri: str) -> None:
    """Start a process with these stores, as far as to the comparison; waits as a process does."""
    async with engine_of(environment) as engine, client_of(uri) as client:
        await until_available("kurrentdb", lambda: Installation(engine).check(client))


async def outcomes(*checks: Awaitable[None]) -> list[str]:
    """What becomes of processes that start at once, sorted."""
    ended = await asyncio.gather(*checks, return_exceptions=True)
    assert all(one is None or isinstance(one, ForeignStore) for one in ended), ended
    return sorted("goes on" if one is None else "ends" for one in ended)


async def test_processes_that_start_at_once_with_fresh_stores_agree_on_one_id(environment, engine, kurrentdb):
    """Whoever comes first joins the two; the others find it done."""
    ended = await outcomes(*(check(environment, kurrentdb.uri) for _ in range(PROCESSES)))

    async with client_of(kurrentdb.uri) as client:
        found = await ids(engine, client)
        assert ended == ["goes on"] * PROCESSES
        assert found.is_joined
        assert found.kurrentdb == found.postgres
        assert await times_named(client) == 1


async def test_of_two_databases_that_come_to_a_fresh_kurrentdb_one_gets_it(stack, environment, kurrentdb):
    """The append that gives the id expects that there is none."""
    await forget_installation(environment)
    async with migrated_database(stack.environment()) as other:
        await forget_installation(other)

        ended = await outcomes(*(check(own, kurrentdb.uri) for own in (environment, other) * 3))

    async with client_of(kurrentdb.uri) as client:
        assert ended == ["ends"] * 3 + ["goes on"] * 3
        assert await times_named(client) == 1


async def test_of_two_fresh_kurrentdbs_that_are_offered_to_a_database_one_is_its_own(environment, kurrentdb, start):
    """Two workers, one of them with a wrong `KURRENTDB_URI` from the very first start."""
    other = await start("other")

    ended = await outcomes(*(check(environment, one.uri) for one in (kurrentdb, other) * 3))

    assert ended == ["ends"] * 3 + ["goes on"] * 3
    assert sorted([len(await streams_in(kurrentdb.uri)), len(await streams_in(other.uri))]) == [0, 1]


async def test_a_process_that_died_while_it_joined_leaves_nothing_to_mend(environment, engine, kurrentdb):
    """KurrentDB has the id, and Postgres does not know it: the next process goes on there."""
    async with client_of(kurrentdb.uri) as client:
        await write_id(client, (await ids(engine, client)).postgres)

        await check(environment, kurrentdb.uri)

        assert (await ids(engine, client)).is_joined
        assert await times_named(client) == 1


async def test_an_empty_kurrentdb_in_place_of_the_own_one_is_refused(environment, kurrentdb, start):
    """Nothing is copied into it, not even the id."""
    await check(environment, kurrentdb.uri)
    other = await start("other")

    with pytest.raises(ForeignStore, match=r"KurrentDB is foreign.*Point KURRENTDB_URI"):
        await check(environment, other.uri)

    assert await streams_in(other.uri) == set()


async def test_a_database_that_was_made_anew_is_refused(environment, kurrentdb):
    """It would know no wallet and no command id that it ever ran."""
    await check(environment, kurrentdb.uri)
    await make_anew(environment)

    with pytest.raises(ForeignStore, match=rf"the database {environment['DB_NAME']} .* the database is foreign"):
        await check(environment, kurrentdb.uri)


async def test_stores_that_are_older_than_their_id_are_joined_by_an_event_that_both_have(
    environment, engine, kurrentdb
):
    """Of the last wallets there may be no event: their worker died before it appended them."""
    async with open_book(engine, kurrentdb) as book:
        await book.append(await book.wallets(1, credited=1))
        await book.wallets(20)
        await forget_installation(environment)

        await check(environment, kurrentdb.uri)

        found = await ids(engine, book.client)
    assert found.is_joined
    assert found.kurrentdb == found.postgres


@pytest.mark.parametrize("has_others_wallets", [False, True])
async def test_stores_that_are_older_than_their_id_and_share_no_event_are_refused(
    environment, engine, kurrentdb, has_others_wallets
):
    """Wallets of the same ids do not count: an event's id is its command's."""
    async with open_book(engine, kurrentdb) as book:
        runs = await book.wallets(3)
        if has_others_wallets:
            await book.append_foreign(runs[0].wallet_id, 2)
            await book.append_foreign(new_id(), 1)
        before = await streams_in(kurrentdb.uri)

        with pytest.raises(ForeignStore, match="KurrentDB is foreign: it has none of the events"):
            await check(environment, kurrentdb.uri)

    assert await streams_in(kurrentdb.uri) == before


async def test_a_database_without_wallets_does_not_get_a_kurrentdb_with_some(environment, engine, kurrentdb):
    """A database that was made anew, and a KurrentDB that is older than the id."""
    async with open_book(engine, kurrentdb) as book:
        await book.append_foreign(new_id(), 1)

    with pytest.raises(ForeignStore, match="the database is foreign: it has no wallets"):
        await check(environment, kurrentdb.uri)


@pytest.mark.parametrize(
    "write",
    [
        lambda engine, wallet: run_batch(engine, [received(create_wallet(wallet))]),
        lambda engine, _: record_failure(engine, Failed(new_id(), None, b"", 0, datetime.now(UTC))),
    ],
    ids=["a batch", "a failure"],
)
async def test_nothing_is_written_to_tables_that_took_the_place_of_the_sessions_own(environment, engine, write):
    """The session lives on, its statements find the new tables; within a transaction nobody can exchange them."""
    wallet = new_id()
    await run_batch(engine, [received(create_wallet(wallet))])
    await make_anew(environment)

    with pytest.raises(ForeignStore, match="emptied, replaced or adopted while this process ran"):
        await write(engine, wallet)

    async with engine_of(environment) as now:
        assert await balances(now) == {}


async def test_a_new_session_in_another_installations_database_is_not_used(environment, engine, kurrentdb):
    """What listens at `DB_HOST` may be another server by now; sessions that Postgres refuses do not count."""
    async with client_of(kurrentdb.uri) as client:
        await Installation(engine).check(client)
        await forget_installation(environment)
        await engine.dispose()

        for _ in range(2 * PROCESSES):
            with pytest.raises(ForeignStore, match="the database belongs to another installation"):
                async with raw_connection(engine):
                    pass


async def test_a_kurrentdb_that_took_the_place_of_the_own_one_gets_nothing(environment, engine, kurrentdb, start):
    """At the same address, while nobody asked it anything: gRPC connects again by itself, and nothing fails."""
    async with open_book(engine, kurrentdb) as book:
        store = EventStore(kurrentdb.uri, Installation(engine).check)
        await store.is_ready()
        (run,) = await book.wallets(1)
        await store.append([run])
        late: Run = await book.credit(run.wallet_id)
        await kurrentdb.stop()
        other = await start("other", port=int(kurrentdb.target.rpartition(":")[2]))

        with pytest.raises(ForeignStore, match="KurrentDB is foreign"):
            await until_available("kurrentdb", lambda: store.append([late]))
        with pytest.raises(ForeignStore):
            await until_available("kurrentdb", lambda: store.locate([late]))

        await store.close()
    assert await streams_in(other.uri) == set()


async def test_a_call_beside_the_database_takes_no_effect_with_foreign_stores(environment, engine, kurrentdb, start):
    """Neither the first nor any later one, single or a block."""
    await check(environment, kurrentdb.uri)
    other = await start("other")

    async with beside(environment, other.uri) as wallets:
        with pytest.raises(NotDoneError, match="do not belong together"):
            await wallets.create_wallet(new_id(), "alice")
        with pytest.raises(NotDoneError, match="do not belong together"):
            async with wallets.transaction() as tx:
                await tx.create_wallet(new_id(), "alice")

    assert await balances(engine) == {}
    assert await streams_in(other.uri) == set()


async def test_a_call_beside_the_database_takes_no_effect_in_tables_that_were_made_anew(environment, engine, kurrentdb):
    """In the session that the pool kept, and in those that come after it."""
    async with beside(environment, kurrentdb.uri) as wallets:
        await wallets.create_wallet(new_id(), "alice")
        await make_anew(environment)

        for _ in range(2):
            with pytest.raises(NotDoneError):
                async with wallets.transaction() as tx:
                    await tx.create_wallet(new_id(), "alice")
            with pytest.raises(NotDoneError):
                await wallets.create_wallet(new_id(), "alice")

    assert await balances(engine) == {}


async def test_a_repository_that_lost_its_kurrentdb_to_another_one_commits_nothing_more(
    environment, engine, kurrentdb, start
):
    """What is committed when it is found out stays pending; from then on no call takes effect."""
    wallet = new_id()
    async with beside(environment, kurrentdb.uri) as wallets:
        await wallets.create_wallet(wallet, "alice", initial_balance="10")
        await kurrentdb.stop()
        other = await start("other", port=int(kurrentdb.target.rpartition(":")[2]))
        with pytest.raises(Exception, match="is done, do not repeat it"):
            await wallets.credit(wallet, "1")

        with pytest.raises(NotDoneError, match="do not belong together"):
            await wallets.credit(wallet, "1")

    assert [version for _, version in (await balances(engine)).values()] == [1]
    assert await streams_in(other.uri) == set()


async def test_a_store_that_is_away_is_waited_for_and_not_called_foreign(environment, kurrentdb):
    """Nothing is concluded without an answer."""
    async with client_of(kurrentdb.uri) as client, engine_of({**environment, "DB_PORT": "1"}) as engine:
        with pytest.raises(Unavailable) as away:
            await Installation(engine).check(client)
    assert away.value.server == "postgres"

    async with engine_of(environment) as engine:
        store = EventStore(kurrentdb.uri, Installation(engine).check)
        await kurrentdb.stop()
        with pytest.raises(Unavailable) as away:
            await store.is_ready()
        await store.close()
    assert away.value.server == "kurrentdb"

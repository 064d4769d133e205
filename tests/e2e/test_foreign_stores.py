"""Processes that are given a Postgres and a KurrentDB of two installations: they end with a line, and write nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack.wallex import run_wallex
from tests.integration.kurrentdb.standin import StandIn
from tests.support.command_line import wallex
from tests.support.commands import create_wallet, credit, new_id
from tests.support.installation import Start, client_of, ids, kurrentdbs, make_anew, streams_in, times_named
from tests.support.ledger import balances, engine_of
from tests.support.world import World
from worker.process import EXIT_FATAL

WALLEX = str(Path(sys.executable).with_name("wallex"))
APART = "do not belong together"


@pytest.fixture
async def start(tmp_path) -> AsyncIterator[Start]:
    """Start KurrentDBs."""
    async with kurrentdbs(tmp_path) as start:
        yield start


@pytest.fixture
async def kurrentdb(start) -> StandIn:
    """A KurrentDB that holds nothing."""
    return await start("own")


@pytest.fixture
async def world(make_world, kurrentdb) -> World:
    """Fresh stores."""
    return await make_world(KURRENTDB_URI=kurrentdb.uri)


async def run_wallets(world: World, count: int = 3) -> list[str]:
    """Have a worker make some wallets, and stop it; return their ids."""
    worker, replies = world.start("first"), await world.topic(world.reply_topic)
    wallets = [new_id() for _ in range(count)]
    await replies.until_answered(await world.send([create_wallet(wallet) for wallet in wallets]))
    await worker.stop()
    return wallets


async def until_said(process, why: str) -> str:
    """Wait until the process has ended because of that, and return its one line."""
    await process.ended()
    (line,) = [text for text in process.log.read_text().splitlines() if text.startswith("wallex")]
    assert why in line, line
    assert "docs/operating.md" in line
    return line


async def test_workers_that_start_at_once_with_fresh_stores_all_serve(world, kurrentdb):
    """One of them joins the stores."""
    workers = [world.start(f"w{number}") for number in range(3)]
    for worker in workers:
        await worker.assigned()
    replies = await world.topic(world.reply_topic)

    await replies.until_answered(await world.send([create_wallet(new_id()) for _ in range(20)]))

    assert [await worker.stop() for worker in workers] == [0, 0, 0]
    async with engine_of(world.environment) as engine, client_of(kurrentdb.uri) as client:
        found = await ids(engine, client)
        assert found.is_joined
        assert found.kurrentdb == found.postgres
        assert await times_named(client) == 1


async def test_a_worker_with_another_kurrentdb_ends_and_copies_nothing(world, start):
    """An empty one: the whole history would fit into it."""
    (wallet, *_) = await run_wallets(world)
    other = await start("other")

    worker = world.start("second", KURRENTDB_URI=other.uri)
    await world.send([credit(wallet)])

    line = await until_said(worker, "KurrentDB is foreign")
    assert worker.code == EXIT_FATAL
    assert world.environment["DB_NAME"] in line
    assert await streams_in(other.uri) == set()
    async with engine_of(world.environment) as engine:
        assert {version for _, version in (await balances(engine)).values()} == {0}


async def test_a_database_that_is_made_anew_under_a_running_worker_ends_it(world):
    """It knows no wallet and no command of the new one; what it is asked then stays unanswered."""
    worker, replies = world.start("first"), await world.topic(world.reply_topic)
    create = create_wallet(new_id())
    await replies.until_answered(await world.send([create]))
    before = len(replies.records)

    await make_anew(world.environment)
    await world.send([create, credit(create["walletId"])])

    await until_said(worker, "installation's")
    assert worker.code == EXIT_FATAL
    assert len(await replies.to_end()) == before
    async with engine_of(world.environment) as engine:
        assert await balances(engine) == {}


async def test_a_worker_without_work_notices_that_its_kurrentdb_was_replaced(world, kurrentdb, start):
    """At the same address: the connection is lost for a moment, and then answers for another installation."""
    worker = world.start("first")
    await worker.assigned()
    await kurrentdb.stop()

    other = await start("other", port=int(kurrentdb.target.rpartition(":")[2]))

    await until_said(worker, APART)
    assert worker.code == EXIT_FATAL
    assert await streams_in(other.uri) == set()


@pytest.mark.parametrize("command", ["projector", "scheduler"])
async def test_the_other_processes_end_as_well(world, start, command):
    """Before they write a document, or repair a stream."""
    await run_wallets(world)
    other = await start("other")

    process = world.start("second", command=(WALLEX, command), KURRENTDB_URI=other.uri)

    await until_said(process, APART)
    assert process.code == 1
    assert await streams_in(other.uri) == set()


COMMANDS = [
    ["verify"],
    ["verify", "--repair"],
    ["projection", "rebuild"],
    ["quarantine", "show", new_id()],
    ["quarantine", "release", new_id()],
]


async def test_commands_that_compare_or_write_refuse(world, start):
    """In one line, with exit code 1."""
    await run_wallets(world)
    other = await start("other")
    environment = world.environment | {"KURRENTDB_URI": other.uri}

    done = [await asyncio.to_thread(run_wallex, command, environment) for command in COMMANDS]

    assert [code for code, _ in done] == [1] * len(COMMANDS)
    assert all(APART in output for _, output in done), done
    assert await streams_in(other.uri) == set()


async def test_an_operator_joins_an_emptied_kurrentdb_and_fills_it_from_the_ledger(world, kurrentdb, start):
    """Asked for, and only then; whoever still has the KurrentDB that was replaced is refused from then on."""
    wallets = await run_wallets(world)
    other = await start("other")
    environment = world.environment | {"KURRENTDB_URI": other.uri}

    shown = await asyncio.to_thread(wallex, environment, "installation", "show")
    asked = await asyncio.to_thread(wallex, environment, "installation", "adopt")
    joined = await asyncio.to_thread(wallex, environment, "installation", "adopt", "--yes")
    now = await asyncio.to_thread(wallex, environment, "installation", "show")
    worker, replies = world.start("second", KURRENTDB_URI=other.uri), await world.topic(world.reply_topic)
    await replies.until_answered(await world.send([credit(wallet) for wallet in wallets]))
    old = world.start("third")

    assert (shown.returncode, asked.returncode, joined.returncode, now.returncode) == (1, 1, 0, 0)
    assert "KurrentDB is foreign" in shown.stderr
    assert "they belong together" in now.stdout
    await until_said(old, APART)
    assert await worker.stop() == 0
    assert await streams_in(other.uri) == {"wallex-installation", *(f"wallet-{wallet}" for wallet in wallets)}


async def test_another_installations_kurrentdb_cannot_be_joined(world, make_world, start):
    """Nor can a database without wallets be given a KurrentDB with some."""
    other = await start("other")
    theirs = await make_world(KURRENTDB_URI=other.uri)
    await run_wallets(theirs)
    await run_wallets(world)
    before = await streams_in(other.uri)

    refused = await asyncio.to_thread(
        wallex, world.environment | {"KURRENTDB_URI": other.uri}, "installation", "adopt", "--yes"
    )

    assert refused.returncode == 1
    assert "not joined: KurrentDB has wallets" in refused.stderr
    assert await streams_in(other.uri) == before

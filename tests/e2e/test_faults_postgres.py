"""What Postgres and its other clients may do to a worker under load: cut its connections, sit on its rows, run full.

Nobody is told of it but by waiting; each command is answered, and takes effect once.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from devstack.errors import DevstackError
from devstack.stack import Stack
from tests.support.commands import create_wallet, credit, new_id, record_of, transfer
from tests.support.foreign import locked
from tests.support.invariants import check
from tests.support.ledger import until_waiting
from tests.support.load import Load
from tests.support.postgres import administrator
from tests.support.replies import Topic, code
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.workers import eventually
from tests.support.world import World

TERMINATIONS = 20
TERMINATE_EVERY_S = 0.1
NO_FAULT = {None, "InsufficientFunds"}
"""Why a command of the load may be refused; nothing of it blames a server."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallDisk, Stack]]:
    """A Postgres of these tests' own, on a disk that they may fill."""
    own = Stack(tmp_path_factory.mktemp("disk"))
    with small_disk(own.folder / "postgres") as disk:
        try:
            yield disk, own
        finally:
            own.down(["postgres"])


@pytest.mark.parametrize("what", ["tables", "log"])
async def test_a_full_disk_is_waited_for(make_world, disk, what):
    """No room for a table's next page is an error; none for the log ends Postgres. With room again all goes on."""
    small, own = disk
    await asyncio.to_thread(own.up, ["postgres"])
    world = await make_world(**own.environment())
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()
    seen = own.log("postgres").stat().st_size

    async with load.running():
        await load.more()
        small.fill()
        if what == "log":
            await use_up_log(own)
        lost = await worker.logged("server_lost")
        small.free()
        await asyncio.to_thread(start_again, own)
        await load.more()

    assert await worker.stop() == 0
    await check(world, replies)
    assert {code(reply) for reply in replies.records} <= NO_FAULT
    assert lost["server"] == "postgres"
    said = own.log("postgres").read_text(errors="replace")[seen:]
    assert "No space left on device" in said
    assert what == "tables" or "PANIC" in said


def start_again(own: Stack) -> None:
    """Start Postgres, once more where it was still ending: one that found no room to recover in gives up."""
    try:
        own.up(["postgres"])
    except DevstackError:
        own.up(["postgres"])


async def use_up_log(own: Stack) -> None:
    """Begin one segment of the log after another until there is no room for the next, which ends Postgres."""
    async with administrator(own.environment()) as admin:
        with suppress(asyncpg.PostgresError, OSError):
            while True:
                await admin.execute("SELECT pg_logical_emit_message(true, '', ''); SELECT pg_switch_wal()")


async def test_connections_that_are_terminated_at_random_are_replaced(world):
    """Whatever a batch was doing when its connection went, it is done once."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies)
    worker = world.start("a")
    await load.open_wallets()

    async with load.running(), administrator(world.environment) as admin:
        terminated = 0
        while terminated < TERMINATIONS:
            terminated += await admin.fetchval(
                """
                SELECT count(pg_terminate_backend(pid)) FROM
                (SELECT pid FROM pg_stat_activity WHERE datname = $1 ORDER BY random() LIMIT 1) AS victim
                """,
                world.environment["DB_NAME"],
            )
            await asyncio.sleep(TERMINATE_EVERY_S)
        await load.more()

    assert await worker.stop() == 0
    await check(world, replies)
    assert {code(reply) for reply in replies.records} <= NO_FAULT
    assert {line["server"] for line in worker.lines("server_lost")} == {"postgres"}


async def test_a_foreign_transaction_on_a_wallet_leaves_the_load_alone(world):
    """Parked once, its wallet's commands cost the others nothing; they run when the row is free."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies, partitions=[1, 2, 3])
    held, other = new_id(), new_id()
    worker = world.start("a")
    await load.open_wallets()
    await replies.until_answered(await world.send(record_of(create_wallet(id_), partition=0) for id_ in (held, other)))

    async with load.running():
        async with locked(world, held):
            moves = [credit(held), transfer(held, other), transfer(other, held), credit(held)]
            waiting = await world.send(record_of(command, partition=0) for command in moves)
            await worker.logged("commands_parked")
            await load.more(1_000)
            assert not any(map(replies.to, waiting))
        await answered(replies, waiting)

    assert await worker.stop() == 0
    books = await check(world, replies)
    assert {code(reply) for reply in replies.records} <= NO_FAULT
    assert books.wallets[held]["version"] == len(moves)


async def test_a_transaction_that_its_owner_forgets_or_leaves_frozen_frees_its_wallets(world):
    """After five seconds, by its own process or by Postgres; the worker's commands on them wait, and nothing else."""
    replies = await world.topic(world.reply_topic)
    load = Load(world, replies, partitions=[2, 3])
    wallets = [new_id(), new_id()]
    worker = world.start("a")
    await load.open_wallets()
    opening = [record_of(create_wallet(id_), partition=partition) for partition, id_ in enumerate(wallets)]
    await replies.until_answered(await world.send(opening))

    async with AsyncExitStack() as open_ones:
        owners = [open_ones.enter_async_context(forgotten(world, id_)) for id_ in wallets]
        forgetful, frozen = await asyncio.gather(*owners)
        frozen.send_signal(signal.SIGSTOP)
        async with load.running():
            moves = [record_of(credit(id_), partition=partition) for partition, id_ in enumerate(wallets)]
            waiting = await world.send(moves)
            await until_waiting(world.environment)
            await load.more()
            await answered(replies, waiting)
        assert await forgetful.wait() != 0

    assert await worker.stop() == 0
    books = await check(world, replies)
    assert {code(reply) for reply in replies.records} <= NO_FAULT
    assert [books.wallets[id_]["balance"] for id_ in wallets] == [101, 101]


@asynccontextmanager
async def forgotten(world: World, wallet: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with an open transaction on `wallet`; it is ended behind the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.open_transaction", wallet),
        cwd=Path(__file__).parents[2],
        env=world.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answered(replies: Topic, sent: list[bytes]) -> None:
    """Wait until all of `sent` are answered, beside a load that reads the replies."""
    await eventually(lambda: all(map(replies.to, sent)), f"replies to {len(sent)} records")

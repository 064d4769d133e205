"""Commands that wait for foreign locks, against those of the next batches: under one key nobody overtakes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock, patch

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.commands import credit
from tests.support.received import received
from worker.domain.decide import wallet_ids
from worker.errors import LockTimeout
from worker.inbox.intake import Intake
from worker.inbox.parking import ParkingLot, Waiting
from worker.inbox.partitions import Partition
from worker.ledger.decide_batch import Outcome, Received

WALLETS = [f"0190a1b2-0000-7000-8000-00000000000{n}" for n in range(3)]
KEYS = [b"a", b"b"]
PATIENCE_S = 2.0


class Postgres:
    """Runs batches in memory. Every call takes as many turns of the event loop, and changes the locks, as was drawn."""

    def __init__(self, turns: Sequence[int], locks: Sequence[set[str]]) -> None:
        self.turns, self.locks = iter(turns), iter(locks)
        self.locked: set[str] = set()
        self.ran: list[Received] = []

    async def attempt(self, _engine: object, batch: Sequence[Received]) -> list[Outcome]:
        await self._take_turns()
        if not self.locked.isdisjoint(id_ for one in batch for id_ in wallet_ids(one.command)):
            raise LockTimeout("locked")
        self.ran.extend(batch)
        return [Outcome(None, b"") for _ in batch]

    async def find_busy(self, _engine: object, named: set[str]) -> frozenset[str]:
        await self._take_turns()
        return frozenset(self.locked & named)

    async def _take_turns(self) -> None:
        for _ in range(next(self.turns, 0)):
            await asyncio.sleep(0)
        # Drawn locks come to an end, so that all commands run in the end.
        self.locked = next(self.locks, set())


async def run(postgres: Postgres, commands: Sequence[Received], size: int) -> None:
    """Take `commands`, `size` at once, while those that were parked are tried again without a pause."""
    partition = Partition(TopicPartition("wallet.commands", 0), 0, lone=False, limit=size)
    given_ = dict(enumerate(commands))
    pipeline = SimpleNamespace(put=AsyncMock(), drained=AsyncMock())
    intake = Intake("this", MagicMock(), pipeline, ParkingLot(MagicMock()), MagicMock(), MagicMock(), MagicMock())
    records = [SimpleNamespace(offset=offset, value=b"", timestamp=0) for offset in given_]
    with ExitStack() as patched:
        for patching in patches(postgres, given_):
            patched.enter_context(patching)
        again = asyncio.create_task(intake.run_parked())
        try:
            async with asyncio.timeout(PATIENCE_S):
                for start in range(0, len(records), size):
                    partition.limit = size
                    await intake.take([(partition, records[start : start + size])])
                while intake.parking.waiting:  # noqa: ASYNC110 - nothing tells when the lot is empty
                    await asyncio.sleep(0)
        finally:
            again.cancel()
            await asyncio.gather(again, return_exceptions=True)


def patches(postgres: Postgres, commands: dict[int, Received]) -> Iterator[patch]:
    yield patch("worker.inbox.intake.RETRY_S", 0)
    yield patch("worker.inbox.intake.commit_answered", AsyncMock())
    yield patch.object(Intake, "_decode", lambda _self, record: commands[record.offset])
    yield patch.object(Intake, "_answer", lambda _self, _partition, record, *_: SimpleNamespace(record=record))
    yield patch("worker.ledger.settle._attempt", postgres.attempt)
    yield patch("worker.ledger.settle._find_busy", postgres.find_busy)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(WALLETS), st.sampled_from(KEYS)), min_size=2, max_size=12),
    st.integers(1, 4),
    st.lists(st.integers(0, 6), max_size=40),
    st.lists(st.sets(st.sampled_from(WALLETS)), max_size=40),
)
def test_commands_under_one_key_run_in_order_whatever_is_parked_meanwhile(named, size, turns, locks):
    """Whichever locks come and go between a batch and the parked ones: each key and each wallet keeps its order."""
    commands = [received(credit(wallet))._replace(key=key) for wallet, key in named]
    postgres = Postgres(turns, locks)

    asyncio.run(run(postgres, commands, size))

    for key in KEYS:
        assert [one for one in postgres.ran if one.key == key] == [one for one in commands if one.key == key]
    for wallet in WALLETS:
        assert about(postgres.ran, wallet) == about(commands, wallet)


def about(commands: Sequence[Received], wallet: str) -> list[Received]:
    return [one for one in commands if wallet in wallet_ids(one.command)]


async def test_what_a_batch_parks_stays_parked_while_others_leave():
    """A command that is parked and has not entered yet keeps its key and its wallets blocked."""
    partition, command = Partition(TopicPartition("wallet.commands", 0), 0), received(credit(WALLETS[0]), key=b"a")
    lot = ParkingLot(MagicMock())

    async with lot.settling:
        lot.parked.add(command)
        leaving = asyncio.create_task(lot.leave([]))
        await asyncio.sleep(0)
        parked_meanwhile = set(lot.parked.keys)
        lot.enter(Waiting(partition, MagicMock(offset=0), command))
    await leaving

    assert parked_meanwhile == lot.parked.keys == {b"a"}

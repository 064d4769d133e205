"""Two workers append what they committed to the same wallets, in any order, with crashes between commit and append."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.kurrentdb.standin import start_standin
from tests.support.commands import create_wallet, credit, new_id, transfer
from tests.support.outbox import Book, open_book
from worker.ledger.decide_batch import Outcome
from worker.outbox import append
from worker.outbox.backfill import load_proofs
from worker.outbox.run import Run, runs_of

WALLETS = 4


@dataclass(frozen=True)
class Turn:
    """One batch: who commits it, what it is made of, and whether its worker dies before it is appended.

    A pair of equal wallets is a credit, one of two a transfer.
    """

    worker: int
    pairs: list[tuple[int, int]]
    dies: bool


TURNS = st.lists(
    st.builds(
        Turn,
        worker=st.integers(0, 1),
        pairs=st.lists(st.tuples(st.integers(0, WALLETS - 1), st.integers(0, WALLETS - 1)), min_size=1, max_size=6),
        dies=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class Work:
    """A batch as it is appended: new runs, and the outcomes that were redelivered with it."""

    runs: list[Run]
    redelivered: list[Outcome]


@pytest.fixture(scope="session")
async def racing(tmp_path_factory):
    """A server whose appends overtake each other, with either way to append."""
    standin = await start_standin(tmp_path_factory.mktemp("racing"), "--append-delay-max-ms", "15")
    yield standin
    await standin.stop()


async def commit(book: Book, turns: list[Turn], wallet_ids: list[str]) -> tuple[list[Work], list[Work]]:
    """Commit all turns in order; what a dead worker had committed comes back to it with its next batch, or at last."""
    queues: tuple[list[Work], list[Work]] = ([], [])
    lost: tuple[list[Outcome], list[Outcome]] = ([], [])
    for turn in turns:
        named = [(wallet_ids[one], wallet_ids[other]) for one, other in turn.pairs]
        commands = [credit(one) if one == other else transfer(one, other) for one, other in named]
        outcomes = await book.commit(commands)
        if turn.dies:
            lost[turn.worker].extend(outcomes)
        else:
            runs = runs_of(event for outcome in outcomes for event in outcome.events)
            queues[turn.worker].append(Work(runs, list(lost[turn.worker])))
            lost[turn.worker].clear()
    for queue, outcomes in zip(queues, lost, strict=True):
        queue.append(Work([], outcomes))
    return queues


async def work_off(book: Book, queue: list[Work]) -> None:
    for work in queue:
        highest: dict[str, int] = {}
        for outcome in work.redelivered:
            for event in outcome.events:
                highest[event.wallet_id] = max(event.version, highest.get(event.wallet_id, -1))
        assert not await book.append(work.runs, await load_proofs(book.engine, highest))


@pytest.mark.parametrize("has_append_records", [True, False], ids=["append_records", "append_to_stream"])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(turns=TURNS)
async def test_streams_end_without_a_gap_and_equal_to_the_ledger(engine, racing, has_append_records, turns):
    """Whatever the order and whoever dies: every event once, at its version, in both ways to append."""
    wallet_ids = [new_id() for _ in range(WALLETS)]
    await racing.set_faults(append_records=has_append_records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append, "BEHIND_PATIENCE_S", 0.1)
        async with open_book(engine, racing) as one, open_book(engine, racing) as other:
            await one.append(await one.runs(map(create_wallet, wallet_ids)))
            queues = await commit(one, turns, wallet_ids)

            async with asyncio.timeout(60):
                await asyncio.gather(work_off(one, queues[0]), work_off(other, queues[1]))

            assert await one.differing(wallet_ids) == []

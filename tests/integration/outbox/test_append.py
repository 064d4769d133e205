"""The append: each rule for a refusal, over both ways to append."""

from __future__ import annotations

import asyncio
import time

import pytest
from esdbclient import StreamState

from tests.support.commands import credit, new_id, transfer
from tests.support.outbox import ids_of
from tests.support.workers import eventually
from worker.contracts.events import stream_name
from worker.outbox import append, backfill
from worker.outbox.event_store import Appended
from worker.outbox.run import runs_of


async def test_many_streams_go_in_one_call(book):
    """All runs of a batch are appended, each event at its version."""
    runs = await book.wallets(200, credited=2)

    contradictory = await book.append(runs)

    assert not contradictory
    assert len(book.store.calls) == 1
    assert await book.differing(ids_of(runs)) == []


async def test_the_same_append_again_and_a_slice_of_it_change_nothing(book):
    """Every call is safe to repeat: exact revisions and fixed ids make the second one a success without effect."""
    runs = await book.wallets(20, credited=4)
    await book.append(runs)

    again = await book.append(runs)
    slices = [run.after(1).until(3) for run in runs]
    sliced = await book.append(slices)

    assert not again and not sliced
    assert len(book.store.calls) == 3
    assert await book.differing(ids_of(runs)) == []


async def test_a_batch_of_which_some_streams_were_appended_is_completed_in_a_few_calls(book):
    """A mixture is refused whole: the streams that have their events are proven, the others written, all at once."""
    runs = await book.wallets(100, credited=1)
    await book.append(runs[::2])
    book.store.calls.clear()

    contradictory = await book.append(runs)

    assert not contradictory
    assert len(book.store.calls) <= 3
    assert await book.differing(ids_of(runs)) == []


async def test_other_ids_at_our_revisions_contradict_for_that_wallet_alone(book):
    """A refused proof means that the stores contradict each other; the other wallets are appended all the same."""
    runs = await book.wallets(100, credited=1)
    foreign, half = runs[41], runs[:60]
    await book.append_foreign(foreign.wallet_id, 2)
    await book.append([run for run in half if run is not foreign])
    book.store.calls.clear()

    contradictory = await book.append(runs)

    assert contradictory == {foreign.wallet_id}
    assert await book.differing(ids_of(runs)) == [foreign.wallet_id]
    assert len(book.store.calls) < 20


async def test_a_run_of_which_a_part_is_there_is_continued(book):
    """In between: what the stream lacks is appended, and what it has is proven."""
    runs = await book.wallets(30, credited=5)
    await book.append([run.until(2) for run in runs])
    book.store.calls.clear()

    contradictory = await book.append(runs)

    assert not contradictory
    assert len(book.store.calls) == 3
    assert await book.differing(ids_of(runs)) == []


async def test_nothing_is_appended_behind_a_part_with_other_ids(book):
    """In between, and the proof of what is there refused: the wallet contradicts, its stream stays as it is."""
    runs = await book.wallets(2, credited=3)
    await book.append_foreign(runs[0].wallet_id, 2)

    contradictory = await book.append(runs)

    assert contradictory == {runs[0].wallet_id}
    assert len(await book.stream(runs[0].wallet_id)) == 2
    assert await book.differing(ids_of(runs)) == [runs[0].wallet_id]


async def test_a_stream_that_another_worker_is_about_to_append_to_is_waited_for(book):
    """Before our first: the other's append is on its way, so it is waited for and not helped."""
    runs = await book.wallets(3)
    mine = [await book.credit(run.wallet_id) for run in runs]

    async def other_worker() -> None:
        await eventually(book.metrics.appends_refused._value.get, "a refusal of what comes too early")
        await book.append(runs)

    _, contradictory = await asyncio.gather(other_worker(), book.append(mine))

    assert not contradictory
    assert book.metrics.events_helped._value.get() == 0
    assert await book.differing(ids_of(runs)) == []


async def test_a_stream_that_nobody_appends_to_is_helped_after_a_second(book):
    """Before our first, and the stream has not moved for a second: what it lacks is made again from the ledger."""
    there = await book.wallets(3)
    await book.append(there)
    lost = [await book.credit(run.wallet_id, 2) for run in there]
    mine = [await book.credit(run.wallet_id) for run in there]
    began = time.monotonic()

    contradictory = await book.append(mine)

    assert not contradictory
    assert append.BEHIND_PATIENCE_S <= time.monotonic() - began < 2 * append.BEHIND_PATIENCE_S
    assert book.metrics.events_helped._value.get() == sum(len(run.events) for run in lost)
    assert await book.differing(ids_of(there)) == []


async def test_the_late_worker_finds_its_events_there_when_it_was_helped(book):
    """Helped events have the same ids: whoever made them finds them proven when it comes back."""
    lost = await book.wallets(3, credited=1)
    mine = [await book.credit(run.wallet_id) for run in lost]
    await book.append(mine)

    contradictory = await book.append(lost)

    assert not contradictory
    assert await book.differing(ids_of(lost)) == []


async def test_more_than_is_loaded_at_once_is_helped_in_several_steps(book, monkeypatch):
    """However much a stream lacks, it ends complete, and the second of patience is spent once."""
    monkeypatch.setattr(backfill, "BACKFILL_EVENTS_MAX", 3)
    lost = await book.wallets(1, credited=6)
    mine = await book.credit(lost[0].wallet_id)
    began = time.monotonic()

    contradictory = await book.append([mine])

    assert not contradictory
    assert time.monotonic() - began < 2 * append.BEHIND_PATIENCE_S
    assert await book.differing(ids_of(lost)) == []


@pytest.mark.parametrize("gap", [1, 2])
async def test_a_hole_in_the_ledger_contradicts(book, monkeypatch, gap):
    """What a stream lacks cannot be made from a ledger that lacks it too: nothing is appended over the hole."""
    monkeypatch.setattr(append, "BEHIND_PATIENCE_S", 0.1)
    runs = await book.wallets(2, credited=3)
    await book.append([runs[0].until(0), runs[1]])
    mine = [await book.credit(run.wallet_id) for run in runs]
    await book.lose_entry(runs[0].wallet_id, gap)

    contradictory = await book.append(mine)

    assert contradictory == {runs[0].wallet_id}
    assert len(await book.stream(runs[0].wallet_id)) == gap
    assert await book.differing([runs[1].wallet_id]) == []


async def test_a_deleted_stream_is_not_begun_anew(book):
    """A deleted stream looks empty, and stands where it ended: no event comes to another revision than its version."""
    runs = await book.wallets(2, credited=2)
    await book.append(runs)
    mine = [await book.credit(run.wallet_id, 2) for run in runs]
    await book.client.delete_stream(stream_name(runs[0].wallet_id), current_version=StreamState.ANY)

    contradictory = await book.append([mine[0].after(mine[0].first), mine[1]])

    assert not contradictory
    assert [revision for revision, *_ in await book.stream(runs[0].wallet_id)] == [3, 4]
    assert await book.differing([run.wallet_id for run in runs]) == [runs[0].wallet_id]


async def test_a_stream_that_a_server_calls_deleted_contradicts(book, monkeypatch):
    """A server may name no revision of a deleted stream: then nothing is appended to it."""
    runs = await book.wallets(2)

    async def refuse(sent):
        monkeypatch.undo()
        return Appended(sent, {runs[0].wallet_id: append.DELETED})

    monkeypatch.setattr(book.store, "append", refuse)

    contradictory = await book.append(runs)

    assert contradictory == {runs[0].wallet_id}
    assert await book.stream(runs[0].wallet_id) == []
    assert await book.differing([runs[1].wallet_id]) == []


async def test_a_tombstoned_stream_contradicts(book):
    """A stream that was ended for ever takes no event; the others do."""
    runs = await book.wallets(2)
    await book.append(runs)
    mine = [await book.credit(run.wallet_id) for run in runs]
    await book.client.tombstone_stream(stream_name(runs[0].wallet_id), current_version=StreamState.ANY)

    contradictory = await book.append(mine)

    assert contradictory == {runs[0].wallet_id}
    assert await book.differing([runs[1].wallet_id]) == []


async def test_a_stream_ahead_of_its_wallet_contradicts(book):
    """A stream must not be further than the wallet's version, read after the refusal."""
    runs = await book.wallets(2, credited=1)
    await book.append(runs)
    await book.append_foreign(runs[0].wallet_id, 3, after=1)
    mine = [await book.credit(run.wallet_id, 2) for run in runs]

    contradictory = await book.append(mine)

    assert contradictory == {runs[0].wallet_id}
    assert await book.differing([runs[1].wallet_id]) == []


async def test_a_stream_further_than_our_run_is_no_contradiction_while_its_wallet_is(book):
    """Another worker has appended behind our events: they are proven, and that is all."""
    runs = await book.wallets(5)
    later = [await book.credit(run.wallet_id) for run in runs]
    await book.append(runs)
    await book.append(later)

    contradictory = await book.append([run.until(0) for run in runs] + await book.wallets(1))

    assert not contradictory
    assert await book.differing(ids_of(runs)) == []


async def test_repeated_commands_are_proven_in_a_call_of_their_own(book):
    """The highest event of each stream alone, whose success proves the rest; then the new events."""
    old = await book.wallets(50, credited=2)
    await book.append(old)
    new = [await book.credit(run.wallet_id) for run in old[:10]] + await book.wallets(5)
    book.store.calls.clear()

    contradictory = await book.append(new, proofs=[run.proof() for run in old])

    assert not contradictory
    assert [len(call) for call in book.store.calls] == [50, 15]
    assert await book.differing(ids_of(old) | ids_of(new)) == []


async def test_repeated_commands_that_were_never_appended_are_appended_with_the_new_ones_behind_them(book, monkeypatch):
    """A batch was committed, its worker died, and it comes back with new commands on the same wallets."""
    monkeypatch.setattr(append, "BEHIND_PATIENCE_S", 0.2)
    lost = await book.wallets(50, credited=3)
    one_event = await book.wallets(50)
    new = [await book.credit(run.wallet_id, 2) for run in (*lost, *one_event)]
    book.store.calls.clear()

    contradictory = await book.append(new, proofs=[run.proof() for run in (*lost, *one_event)])

    assert not contradictory
    assert len(book.store.calls) < 40
    assert await book.differing(ids_of(lost) | ids_of(one_event)) == []


async def test_repeated_commands_of_which_some_were_appended_cost_a_few_calls(book):
    """Streams that lack just this event are written in one call, those that have it are proven in another."""
    runs = await book.wallets(200)
    await book.append(runs[::2])
    book.store.calls.clear()

    contradictory = await book.append([], proofs=[run.proof() for run in runs])

    assert not contradictory
    assert len(book.store.calls) <= 3
    assert await book.differing(ids_of(runs)) == []


async def test_a_duplicate_of_an_old_command_beside_a_new_one_on_the_same_wallet(book):
    """The old event is proven, the new one appended, each once."""
    old = await book.wallets(20, credited=3)
    await book.append(old)
    new = [await book.credit(run.wallet_id) for run in old]
    book.store.calls.clear()

    contradictory = await book.append(new, proofs=[run.until(1).proof() for run in old])

    assert not contradictory
    assert len(book.store.calls) == 2
    assert await book.differing(ids_of(old)) == []


async def test_a_refused_proof_among_many_is_found_in_a_few_calls(book):
    """Proofs are halved until the contradictory one stands alone; its wallet gets no new event, the others do."""
    old = await book.wallets(256)
    foreign = old[77]
    await book.append([run for run in old if run is not foreign])
    await book.append_foreign(foreign.wallet_id, 1)
    new = [await book.credit(run.wallet_id) for run in old]
    book.store.calls.clear()

    contradictory = await book.append(new, proofs=[run.proof() for run in old])

    assert contradictory == {foreign.wallet_id}
    assert len(book.store.calls) <= 2 * 8 + 3
    assert await book.differing(ids_of(old)) == [foreign.wallet_id]


async def test_what_lies_between_two_of_our_transactions_is_waited_for(book):
    """A batch was halved, and another worker moved the wallet in between: each event ends at its own revision."""
    (created,) = await book.wallets(1)
    await book.append([created])
    first, other, second = [await book.credit(created.wallet_id, count) for count in (1, 3, 2)]

    async def other_worker() -> None:
        await eventually(book.metrics.appends_refused._value.get, "a refusal of the second run, which comes too early")
        await book.append([other])

    _, contradictory = await asyncio.gather(other_worker(), book.append(runs_of([*first.events, *second.events])))

    assert not contradictory
    assert book.metrics.events_helped._value.get() == 0
    assert await book.differing([created.wallet_id]) == []


async def test_what_a_dead_worker_left_between_two_of_our_transactions_is_helped(book):
    """Nobody appends what lies between: after a second it is made again from the ledger."""
    (created,) = await book.wallets(1)
    await book.append([created])
    first, lost, second = [await book.credit(created.wallet_id, count) for count in (1, 3, 2)]

    contradictory = await book.append(runs_of([*first.events, *second.events]))

    assert not contradictory
    assert book.metrics.events_helped._value.get() == len(lost.events)
    assert await book.differing([created.wallet_id]) == []


async def test_a_transfer_reaches_both_streams(book):
    """Both entries of a transfer are appended, whichever of them another batch has brought already."""
    source, target = (run.wallet_id for run in await book.wallets(2))
    wallets = [source, target]
    await book.append(list((await backfill.load_runs(book.engine, dict.fromkeys(wallets, (0, 0)))).values()))
    outcomes = await book.commit([transfer(source, target), credit(target), transfer(target, source)])
    runs = runs_of(event for outcome in outcomes for event in outcome.events)
    await book.append([run for run in runs if run.wallet_id == target])

    contradictory = await book.append(runs)

    assert not contradictory
    assert await book.differing(wallets) == []


async def test_a_wallet_that_nobody_knows_is_not_loaded(book):
    """What the ledger does not have is left out."""
    assert await backfill.load_runs(book.engine, {new_id(): (0, 5)}) == {}
    assert await backfill.load_runs(book.engine, {}) == {}

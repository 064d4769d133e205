"""A rebuild on a real Elasticsearch: nobody who searches notices, and nothing is left behind, however it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction

import pytest
from esdbclient import NewEvent as StoredEvent

from tests.support.commands import capture_hold, create_wallet, new_id, place_hold
from tests.support.memory_ledger import MemoryLedger
from tests.support.projecting import (
    PATIENCE_S,
    all_written,
    documents,
    everything,
    indices_of,
    is_following,
    is_waiting,
    only,
    until,
)
from tests.support.projection import decided, wallet_events
from worker.errors import Fatal
from worker.projection import generation
from worker.projection import rebuild as rebuilding
from worker.projection.comparison import Comparison
from worker.projection.generation import (
    Overtaken,
    begin_generation,
    block_writes,
    open_built,
    switch_aliases,
    under_construction,
)
from worker.projection.index import find_index, open_index
from worker.projection.progress import caught_up, last_position, read_checkpoint
from worker.projection.rebuild import Incomplete, rebuild


def unseen(_stage, _done, _of):
    """Nobody watches."""


def a_history(kurrentdb):
    """Two wallets, one of them with a captured hold."""
    wallet, hold = new_id(), new_id()
    placed = [create_wallet(wallet), place_hold(wallet, hold, "10"), capture_hold(wallet, hold, amount="4")]
    events = [decided(MemoryLedger(), *placed), wallet_events(["5", "1", "1"])]
    for one in events:
        kurrentdb.append(one)
    return events


async def test_a_rebuild_makes_the_same_documents_in_new_indices(elasticsearch, kurrentdb, projections, projecting):
    """Where nothing was wrong all are alike; the old indices are gone, and the new ones serve as any other."""
    a_history(kurrentdb)
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    before = await everything(elasticsearch, projections)
    stages = set()

    rebuilt = await rebuild(elasticsearch, kurrentdb.uri, lambda *told: stages.add(told), projections)

    assert await everything(elasticsearch, projections) == before
    assert await indices_of(elasticsearch, projections) == only(projections, 2)
    assert [(one.documents, one.added, one.comparison) for one in rebuilt.replaced] == [
        (2, 0, Comparison(alike=2)),
        (6, 0, Comparison(alike=6)),
        (1, 0, Comparison(alike=1)),
    ]
    assert (rebuilt.events, rebuilt.followed) == (6, 6)
    assert {("events", 6, 6), ("documents compared", 9, 9)} <= stages
    assert await read_checkpoint(elasticsearch, projections) == await last_position(kurrentdb.uri)
    for index in (await elasticsearch.indices.get_settings(index="*-000002", flat_settings=True)).body.values():
        assert "index.refresh_interval" not in index["settings"]
        assert index["settings"]["index.auto_expand_replicas"] == "0-1"


async def test_whoever_searches_during_a_rebuild_never_sees_less(elasticsearch, kurrentdb, projections, projecting):
    """With a projector and a load running: no search fails, none sees fewer wallets, and at the end none is missing.

    A projector that has nothing more to write has not noticed the switch; the new indices lack nothing all the same.
    """
    kurrentdb.append(wallet_events(["1"] * 20))
    loads = [asyncio.to_thread(append_wallets, kurrentdb, 150) for _ in range(2)]
    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)
        seen, stop = [], asyncio.Event()
        searching = asyncio.create_task(search_until(stop, elasticsearch, projections[0], seen))
        loading = asyncio.gather(*loads)

        for _ in range(3):
            await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)
        wallet_ids = {wallet_id for ids in await loading for wallet_id in ids}
        await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)
        stop.set()
        await searching
        found = await documents(elasticsearch, projections[0])
        assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=PATIENCE_S, projections=projections)
        kurrentdb.append(wallet_events(["3"]))
        await all_written(elasticsearch, kurrentdb, projections)
        await projector.check()

    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert wallet_ids <= found.keys()
    assert [len(one) for one in await everything(elasticsearch, projections)] == [302, 20 + 600 + 1, 0]
    assert await indices_of(elasticsearch, projections) == only(projections, 5)


async def test_what_comes_in_the_last_moment_is_in_the_new_indices(
    elasticsearch, kurrentdb, projections, projecting, monkeypatch
):
    """What the projector still wrote to the old indices the rebuild follows too; for the rest the projector waits."""
    before_block, behind_block = wallet_events(["1"]), wallet_events(["2"])

    async def block(client, old):
        kurrentdb.append(before_block)
        await all_written(elasticsearch, kurrentdb, projections)
        await block_writes(client, old)

    async def switch(client, old, new):
        kurrentdb.append(behind_block)
        await until(lambda: is_waiting(projector))
        await switch_aliases(client, old, new)

    monkeypatch.setattr("worker.projection.rebuild.block_writes", block)
    monkeypatch.setattr("worker.projection.rebuild.switch_aliases", switch)
    async with projecting() as projector:
        await until(lambda: is_following(projector))
        await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)
        found = await documents(elasticsearch, projections[0])
        await all_written(elasticsearch, kurrentdb, projections)

    assert before_block[0].wallet_id in found
    assert behind_block[0].wallet_id in await documents(elasticsearch, projections[0])


def append_wallets(kurrentdb, count):
    """Open so many wallets, with an event more in each, one after another; returns their ids."""
    wallets = [wallet_events(["1", "2"]) for _ in range(count)]
    for events in wallets:
        kurrentdb.append(events)
    return [events[0].wallet_id for events in wallets]


async def search_until(stop, elasticsearch, projection, seen):
    """Count the documents that a search finds, again and again."""
    while not stop.is_set():
        answer = await elasticsearch.search(index=projection.alias, size=0, track_total_hits=True)
        assert answer["_shards"]["failed"] == 0
        seen.append(answer["hits"]["total"]["value"])


async def test_what_was_wrong_is_mended_and_told(elasticsearch, kurrentdb, projections, projecting):
    """Differences are what a rebuild is for: changed documents, missing ones, and those that no event makes."""
    held, plain = a_history(kurrentdb)
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    before = await everything(elasticsearch, projections)
    wallets, statement, _ = (one.alias for one in projections)
    wrong = before[0][plain[0].wallet_id][1] | {"balance": "9.0000", "status": "CLOSED"}
    same = {"version": 3, "version_type": "external_gte"}
    await elasticsearch.index(index=wallets, id=plain[0].wallet_id, document=wrong, **same)
    await elasticsearch.index(index=wallets, id=new_id(), document=wrong | {"walletId": new_id()})
    await elasticsearch.delete(index=statement, id=held[0].event_id)

    rebuilt = await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert await everything(elasticsearch, projections) == before
    assert [(one.documents, one.added, one.comparison) for one in rebuilt.replaced] == [
        (2, 0, Comparison(alike=1, changed=1, gone=1, fields={"balance", "status"})),
        (6, 1, Comparison(alike=5)),
        (1, 0, Comparison(alike=1)),
    ]


async def test_indices_that_are_behind_are_replaced_by_new_ones_that_are_not(
    elasticsearch, kurrentdb, projections, projecting
):
    """No projector runs: what it has not written yet the rebuild writes; what is newer there is told apart."""
    events = wallet_events(["5", "1", "1"])
    kurrentdb.append(events[:2])
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    kurrentdb.append(events[2:])

    rebuilt = await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert [one.comparison for one in rebuilt.replaced] == [Comparison(newer=1), Comparison(alike=2), Comparison()]
    assert (await documents(elasticsearch, projections[0]))[events[0].wallet_id][0] == 3


async def test_an_empty_log_makes_empty_indices(elasticsearch, kurrentdb, projections, projecting):
    """A first installation, and before anything happened: what is made is what the projector goes on with."""
    await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)
    a_history(kurrentdb)
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    assert [len(one) for one in await everything(elasticsearch, projections)] == [2, 6, 1]
    assert await indices_of(elasticsearch, projections) == only(projections, 2)


async def test_what_a_killed_rebuild_left_is_taken_away_by_the_next(elasticsearch, kurrentdb, projections, projecting):
    """Half-made indices, a block from its last moment, an old index that it could no longer delete."""
    a_history(kurrentdb)
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
        await elasticsearch.indices.create(index=f"{projections[0].alias}-000000")
        assert await begin_generation(elasticsearch, projections) == 2
        await block_writes(elasticsearch, await open_all(elasticsearch, projections))
        kurrentdb.append(wallet_events(["7"]))

        await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)
        await all_written(elasticsearch, kurrentdb, projections)

    assert [len(one) for one in await everything(elasticsearch, projections)] == [3, 7, 1]
    assert await indices_of(elasticsearch, projections) == only(projections, 3)


async def test_indices_that_somebody_gave_a_name_are_left_alone(elasticsearch, kurrentdb, projections):
    """An operator's copy under an alias of their own is none of a rebuild's leftovers."""
    kept = f"{projections[0].alias}-000000"
    await elasticsearch.indices.create(index=kept, aliases={f"{projections[0].alias}-kept": {}})

    await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert kept in await indices_of(elasticsearch, projections)


async def test_a_rebuild_that_is_stopped_leaves_everything_as_it_was(elasticsearch, kurrentdb, projections, projecting):
    """As by Ctrl-C: the old indices serve on, the new ones are gone, and the projector never notices."""
    a_history(kurrentdb)
    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)
        began = asyncio.Event()
        rebuilding = asyncio.create_task(rebuild(elasticsearch, kurrentdb.uri, lambda *_told: began.set(), projections))
        await began.wait()
        rebuilding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rebuilding
        kurrentdb.append(wallet_events(["7"]))
        await all_written(elasticsearch, kurrentdb, projections)
        await projector.check()

    assert len(await documents(elasticsearch, projections[0])) == 3
    assert await indices_of(elasticsearch, projections) == only(projections, 1)


async def test_of_two_rebuilds_the_one_that_began_later_goes_on(elasticsearch, kurrentdb, projections):
    """The first one's indices are taken away, so it cannot switch to them; one line says why it ends."""
    a_history(kurrentdb)
    await open_all(elasticsearch, projections)
    earlier = await begin_generation(elasticsearch, projections)

    await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    with pytest.raises(Overtaken, match="another rebuild began later"):
        await open_built(elasticsearch, under_construction(projections[0], earlier))
    assert await indices_of(elasticsearch, projections) == only(projections, earlier + 1)


@pytest.mark.parametrize("step", ["frozen", "serve_as_usual", "block_writes", "count_documents", "switch_aliases"])
async def test_a_rebuild_says_that_another_took_over_wherever_it_notices(
    elasticsearch, kurrentdb, projections, monkeypatch, step
):
    """While it compares, blocks, counts or switches: its indices, or the old ones, are gone. Nothing is left of it."""
    a_history(kurrentdb)
    await open_all(elasticsearch, projections)
    before_it = getattr(rebuilding, step)
    let_another_be_first(
        monkeypatch, f"worker.projection.rebuild.{step}", before_it, elasticsearch, kurrentdb, projections
    )

    with pytest.raises(Overtaken, match="another rebuild"):
        await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert [len(one) for one in await everything(elasticsearch, projections)] == [2, 6, 1]
    assert await indices_of(elasticsearch, projections) == only(projections, 3)


async def test_a_rebuild_that_is_overtaken_while_it_begins_leaves_nothing(
    elasticsearch, kurrentdb, projections, monkeypatch
):
    """What it makes behind the later one's back nobody else would take away."""
    a_history(kurrentdb)
    await open_all(elasticsearch, projections)
    step = "worker.projection.generation.add_checkpoint"
    let_another_be_first(monkeypatch, step, generation.add_checkpoint, elasticsearch, kurrentdb, projections)

    with pytest.raises(Overtaken, match="another rebuild began later"):
        await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert await indices_of(elasticsearch, projections) == only(projections, 3)


async def test_old_indices_that_a_later_rebuild_has_deleted_are_no_failure(
    elasticsearch, kurrentdb, projections, monkeypatch
):
    """Behind the switch they are anybody's to take away: both rebuilds have done their work."""
    a_history(kurrentdb)
    step = "worker.projection.rebuild.delete_unused"
    let_another_be_first(monkeypatch, step, generation.delete_unused, elasticsearch, kurrentdb, projections)

    rebuilt = await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert [one.documents for one in rebuilt.replaced] == [2, 6, 1]
    assert await indices_of(elasticsearch, projections) == only(projections, 3)


def let_another_be_first(monkeypatch, name, step, elasticsearch, kurrentdb, projections):
    """Have a whole other rebuild run just before `step`, the function of that `name`, is called for the first time."""

    async def another():
        if not gone:
            gone.append(True)
            await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    @asynccontextmanager
    async def behind_another(*arguments, **options):
        await another()
        async with step(*arguments, **options) as given:
            yield given

    async def call_behind_another(*arguments, **options):
        await another()
        return await step(*arguments, **options)

    gone = []
    monkeypatch.setattr(name, call_behind_another if iscoroutinefunction(step) else behind_another)


async def test_a_rebuild_that_was_overtaken_leaves_the_later_ones_block(elasticsearch, kurrentdb, projections):
    """In its last moment the later one must be alone: what is written to the old indices then would be lost."""
    a_history(kurrentdb)
    old = await open_all(elasticsearch, projections)
    earlier = await begin_generation(elasticsearch, projections)
    await begin_generation(elasticsearch, projections)
    await block_writes(elasticsearch, old)

    await rebuilding._clean_up(elasticsearch, old, earlier)

    settings = (await elasticsearch.indices.get_settings(index=old[0].name, flat_settings=True)).body
    assert settings[old[0].name]["settings"]["index.blocks.write"] == "true"


async def open_all(elasticsearch, projections):
    """The indices behind the aliases, made where they are missing."""
    return [await open_index(elasticsearch, one) for one in projections]


async def test_rebuilds_at_the_same_moment_end_with_one_set_of_indices(elasticsearch, kurrentdb, projections):
    """Whoever wins: an alias names one index with everything in it, and no other one is left."""
    a_history(kurrentdb)
    await open_all(elasticsearch, projections)

    outcomes = await asyncio.gather(
        *(rebuild(elasticsearch, kurrentdb.uri, unseen, projections) for _ in range(3)), return_exceptions=True
    )

    failed = [one for one in outcomes if isinstance(one, BaseException)]
    assert len(failed) < 3
    assert all(isinstance(one, Overtaken) for one in failed), failed
    assert [len(one) for one in await everything(elasticsearch, projections)] == [2, 6, 1]
    assert len(await indices_of(elasticsearch, projections)) == 3


async def test_an_index_that_lacks_a_document_is_never_switched_to(elasticsearch, kurrentdb, projections):
    """What the events begin is counted beside what the index holds: the old indices serve on, and take documents."""
    a_history(kurrentdb)
    crossed = dataclasses.replace(projections[1], key=lambda event: event.data["walletId"])
    some = [projections[0], crossed]

    with pytest.raises(Incomplete, match=f"{crossed.alias}-000002 holds 2 documents, expected 6"):
        await rebuild(elasticsearch, kurrentdb.uri, unseen, some)

    assert await indices_of(elasticsearch, projections) == only(some, 1)
    await elasticsearch.index(index=crossed.alias, document={"walletId": "x"}, require_alias=True)


async def test_an_event_of_somebody_else_is_passed_over_by_a_rebuild_too(elasticsearch, kurrentdb, projections):
    """It makes no document, and none is expected of it."""
    events = wallet_events(["100"])
    kurrentdb.append(events)
    data = {**json.loads(events[0].data), "version": 1, "ownerId": {"not": "text"}}
    foreign = StoredEvent(type="WalletCredited", data=json.dumps({**data, "amount": "1.0000"}).encode())
    kurrentdb.append_stored(f"wallet-{events[0].wallet_id}", [foreign])

    rebuilt = await rebuild(elasticsearch, kurrentdb.uri, unseen, projections)

    assert [one.documents for one in rebuilt.replaced] == [1, 1, 0]


async def test_a_document_that_is_refused_ends_the_rebuild_and_nothing_else(elasticsearch, kurrentdb, projections):
    """The line of the projector, which would end by the same event; what serves is left as it was."""
    events = wallet_events(["100"])
    kurrentdb.append(events)
    unmapped = {name: kind for name, kind in projections[0].properties.items() if name != "ownerId"}
    some = [dataclasses.replace(projections[0], properties=unmapped), *projections[1:]]

    with pytest.raises(Fatal, match=f"refused {events[0].wallet_id} in {projections[0].alias}-000002-build: 400"):
        await rebuild(elasticsearch, kurrentdb.uri, unseen, some)

    assert await indices_of(elasticsearch, projections) == only(projections, 1)
    assert (await find_index(elasticsearch, projections[0])).checkpoint is None

"""What lags is made up from the ledger, once it is old enough; nothing else is ever touched."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.audited import AT_ONCE_S
from tests.support.commands import capture_hold, create_wallet, credit, new_id, place_hold, release_hold, transfer
from tests.support.ledger import stop_clock
from worker.audit import parts
from worker.audit.compare_stream import own_properties
from worker.audit.repair import verify_and_repair
from worker.audit.report import Kind, Repaired, Store
from worker.audit.stores import open_postgres
from worker.errors import ForeignStore, Unavailable
from worker.outbox.adoption import adopt
from worker.outbox.event_store import open_event_store
from worker.outbox.installation import Installation
from worker.settings import Settings


async def _repair(world, settle_s=AT_ONCE_S):
    """Compare and mend, whatever the age of what lags."""
    return await verify_and_repair(world.stores, settle_s=settle_s, older_than_s=0.0)


async def _repaired(world):
    """Compare and mend, after which everything agrees: what was made up."""
    report = await _repair(world)
    assert report.is_clean, report.differences
    return [one.what for one in report.repaired]


async def _wallet_with_holds(world):
    """A wallet at version 3 with an active hold and a captured one: its id, theirs, and its events by version."""
    wallet, active, captured = new_id(), new_id(), new_id()
    events = await world.run(
        create_wallet(wallet),
        place_hold(wallet, active, "5"),
        place_hold(wallet, captured, "8"),
        capture_hold(wallet, captured),
    )
    return wallet, active, captured, {event.version: event for event in events}


async def test_a_stream_that_lacks_its_last_events_gets_them(fresh):
    """The same ids at their exact revisions, as the worker would have appended them, and the documents with them."""
    source, target, _ = await fresh.two_wallets()
    events = await fresh.run_in_postgres(transfer(source, target, "1"), credit(source, "2"))

    report = await _repair(fresh)

    assert report.is_clean, report.differences
    assert [one for one in report.repaired if one.store is Store.KURRENTDB] == [
        Repaired(source, Store.KURRENTDB, "revisions 3 to 4"),
        Repaired(target, Store.KURRENTDB, "revisions 3 to 3"),
    ]
    recorded = [event for id_ in (source, target) for event in await fresh.stores.streams.read(id_, 3, 10)]
    appended = sorted(events, key=lambda event: (event.wallet_id, event.version))
    assert [(one.id, one.data, own_properties(one.metadata)) for one in recorded] == [
        (event.event_id, event.data, event.properties) for event in appended
    ]


async def test_a_wallet_that_only_postgres_knows_is_made_up_everywhere(fresh):
    """A process died between the commit and the append, and nobody delivers the command again."""
    wallet, hold = new_id(), new_id()
    await fresh.run_in_postgres(create_wallet(wallet), place_hold(wallet, hold))

    report = await _repair(fresh)

    assert report.is_clean, report.differences
    assert report.repaired == (
        Repaired(wallet, Store.KURRENTDB, "revisions 0 to 1"),
        Repaired(wallet, Store.ELASTICSEARCH, "wallets documents: 1"),
        Repaired(wallet, Store.ELASTICSEARCH, "wallet-ledger documents: 2"),
        Repaired(wallet, Store.ELASTICSEARCH, "wallet-holds documents: 1"),
    )


async def test_documents_that_are_gone_are_written_again(fresh):
    """Of a wallet, a line of its statement, an active hold and an ended one: nothing but these."""
    wallet, active, captured, events = await _wallet_with_holds(fresh)
    await fresh.stores.search.delete(index=fresh.stores.wallets.alias, id=wallet)
    await fresh.stores.search.delete(index=fresh.stores.statement.alias, id=events[2].event_id)
    for hold in (active, captured):
        await fresh.stores.search.delete(index=fresh.stores.holds.alias, id=hold)

    assert await _repaired(fresh) == [
        "wallets documents: 1",
        "wallet-ledger documents: 1",
        "wallet-holds documents: 2",
    ]


async def test_what_elasticsearch_refuses_is_told_and_not_counted(fresh):
    """It remembers the version of a document that was just deleted, and takes no older one: nothing was repaired."""
    wallet, _, _, events = await _wallet_with_holds(fresh)
    search, aliases = fresh.stores.search, [one.alias for one in fresh.stores.projections]
    await search.indices.put_settings(index=aliases, settings={"gc_deletes": "1h"})
    await search.delete(index=fresh.stores.wallets.alias, id=wallet)

    refused = await _repair(fresh)
    await search.delete(index=fresh.stores.statement.alias, id=events[2].event_id)
    await search.indices.put_settings(index=aliases, settings={"gc_deletes": "0s"})
    mended = await _repair(fresh)

    assert refused.repaired == ()
    assert [(one.wallet_id, one.what) for one in refused.not_repaired] == [(wallet, f"wallets document {wallet}")]
    assert "index.gc_deletes" in refused.not_repaired[0].why
    assert {one.kind for one in refused.differences} == {Kind.LAGS}
    assert (mended.is_clean, mended.not_repaired) == (True, ()), mended


async def test_documents_that_stay_behind_are_brought_up_to_date(fresh):
    """Each as its newest event makes it."""
    wallet, active, _, _ = await _wallet_with_holds(fresh)
    await fresh.append(await fresh.run_in_postgres(release_hold(wallet, active), credit(wallet)))

    assert await _repaired(fresh) == [
        "wallets documents: 1",
        "wallet-ledger documents: 2",
        "wallet-holds documents: 1",
    ]


async def test_a_second_repair_finds_nothing(fresh):
    """What was made up is there, and nothing is written twice."""
    await fresh.run_in_postgres(create_wallet(new_id()))
    first = await _repair(fresh)
    stands = await fresh.everything()

    second = await _repair(fresh)

    assert first.repaired
    assert (second.repaired, second.differences) == ((), ())
    assert await fresh.everything() == stands


async def test_what_is_younger_than_a_minute_is_left_to_those_who_committed_it(fresh):
    """It may still be on its way: it is reported, and not touched."""
    source, _, _ = await fresh.two_wallets()
    await fresh.run_in_postgres(credit(source))
    stands = await fresh.everything()

    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S)

    assert report.repaired == ()
    assert {one.kind for one in report.differences} == {Kind.LAGS}
    assert await fresh.everything() == stands


async def test_what_was_committed_by_a_clock_that_was_ahead_is_made_up(fresh, monkeypatch):
    """Its time is still to come: waiting until it is a minute old could take a year."""
    wallet = new_id()
    await fresh.run(create_wallet(wallet))
    stop_clock(monkeypatch, datetime.now(UTC) + timedelta(days=365))
    await fresh.run_in_postgres(credit(wallet))

    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S)

    assert report.is_clean, report.differences
    assert Repaired(wallet, Store.KURRENTDB, "revisions 1 to 1") in report.repaired


async def test_only_what_is_old_enough_is_made_up(fresh):
    """Up to the newest entry of that age; what follows it waits for its own time."""
    wallet = new_id()
    await fresh.run_in_postgres(create_wallet(wallet), credit(wallet))
    await fresh.run_in_postgres(credit(wallet))
    await fresh.execute("UPDATE ledger SET occurred_at = occurred_at - interval '61 s' WHERE version < 2")
    await fresh.execute("UPDATE wallets SET created_at = created_at - interval '61 s'")

    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S)

    assert [one.what for one in report.repaired] == [
        "revisions 0 to 1",
        "wallets documents: 1",
        "wallet-ledger documents: 2",
    ]
    assert [(one.store, one.expected[:7], one.kind) for one in report.differences] == [
        (Store.KURRENTDB, "WalletC", Kind.LAGS),
        (Store.ELASTICSEARCH, "2", Kind.LAGS),
        (Store.ELASTICSEARCH, "WalletC", Kind.LAGS),
    ]


async def test_a_kurrentdb_that_lost_everything_gets_it_back_once_it_is_adopted(fresh, stack, tmp_path):
    """The ledger is the journal of every stream; an empty one may be another's, though, until told."""
    await fresh.two_wallets()
    wallet, *_ = await _wallet_with_holds(fresh)
    fresh.standin.kill()
    shutil.rmtree(tmp_path / "data")
    await fresh.standin.start()
    own = {"DB_NAME": fresh.stores.engine.url.database, "KURRENTDB_URI": fresh.standin.uri}
    settings = Settings.load({**stack.environment(), **own})

    with pytest.raises(ForeignStore, match="KurrentDB is foreign"):
        await _repair(fresh)
    await adopt(settings)
    async with (
        open_postgres(settings) as engine,
        open_event_store(fresh.standin.uri, Installation(engine).check) as appends,
    ):
        stores = dataclasses.replace(fresh.stores, engine=engine, appends=appends)
        report = await verify_and_repair(stores, settle_s=AT_ONCE_S, older_than_s=0)

    assert report.is_clean, report.differences
    assert Repaired(wallet, Store.KURRENTDB, "revisions 0 to 3") in report.repaired


async def test_a_wallet_longer_than_a_page_is_made_up_across_the_pages(fresh, monkeypatch):
    """Page by page, each page's events before its documents."""
    wallet, holds = new_id(), [new_id() for _ in range(5)]
    await fresh.run(create_wallet(wallet), place_hold(wallet, holds[0]))
    await fresh.run_in_postgres(*[place_hold(wallet, hold) for hold in holds[1:]])
    await fresh.run_in_postgres(*[release_hold(wallet, hold) for hold in holds[:3]])
    monkeypatch.setattr(parts, "PAGE_ENTRIES", 3)

    report = await _repair(fresh)

    assert report.is_clean, report.differences
    revisions = [one.what for one in report.repaired if one.store is Store.KURRENTDB]
    assert revisions == ["revisions 2 to 2", "revisions 3 to 5", "revisions 6 to 8"]


async def test_two_repairs_at_once_and_a_worker_that_comes_late_harm_nothing(fresh):
    """Each write is one that the other would have made."""
    source, target, _ = await fresh.two_wallets()
    events = await fresh.run_in_postgres(*[transfer(source, target, "1") for _ in range(5)])

    reports = await asyncio.gather(_repair(fresh), _repair(fresh), fresh.append(events))

    assert (await _repair(fresh)).is_clean
    assert all(not report.contradictions for report in reports[:2])


async def test_an_alias_that_is_missing_is_for_the_projector(fresh):
    """An index is not made by a repair: that would follow nothing, and begin nowhere."""
    await fresh.two_wallets()
    (index,) = (await fresh.stores.search.indices.get(index=fresh.stores.holds.alias)).body
    await fresh.stores.search.indices.delete_alias(index=index, name=fresh.stores.holds.alias)

    with pytest.raises(Unavailable, match="`wallex projector` makes it"):
        await _repair(fresh)

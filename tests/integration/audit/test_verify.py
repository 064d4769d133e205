"""The comparison of all stores: what agrees is not reported, what is in flight neither, and nothing is too large."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from tests.support.commands import create_wallet, credit, new_id, transfer
from worker.audit import documents, parts
from worker.audit.verify import verify
from worker.errors import Unavailable


async def test_stores_that_agree_show_no_difference(fresh):
    """Everything is counted, nothing is reported, and there is no wait."""
    await fresh.two_wallets()

    report = await verify(fresh.stores)

    assert report.is_clean
    # The empty wallet's first event moved no money: it is no line of the statement.
    assert (report.wallets, report.events, report.documents) == (2, 6, 2 + 5)
    assert report.seconds < 10


async def test_empty_stores_agree(fresh):
    """Nothing anywhere is no difference."""
    assert (await verify(fresh.stores)).is_clean


async def test_what_is_in_flight_is_no_difference(fresh):
    """What arrives within the time that is allowed was on its way."""
    source, _, _ = await fresh.two_wallets()
    events = await fresh.run_in_postgres(credit(source, "1"))

    comparing = asyncio.create_task(verify(fresh.stores, settle_s=60))
    await asyncio.sleep(0)
    await fresh.append(events)
    await fresh.project(events)
    started = time.monotonic()
    report = await comparing

    assert report.is_clean
    assert time.monotonic() - started < 30


async def test_a_wallet_that_is_busy_all_the_time_is_no_difference(fresh):
    """Each store has to come to where Postgres was at the first look, not to where it is by now."""
    source, target, _ = await fresh.two_wallets()
    reports = []

    async def keep_busy():
        behind = []
        while not reports:
            behind.append(await fresh.run_in_postgres(transfer(source, target, "0.0001")))
            # KurrentDB is one batch behind, Elasticsearch two, and that is how they stay.
            if len(behind) > 2:
                await fresh.project(behind[-3])
            if len(behind) > 1:
                await fresh.append(behind[-2])

    busy = asyncio.create_task(keep_busy())
    reports.append(await verify(fresh.stores, settle_s=2))
    await busy

    assert reports[0].is_clean, reports[0].differences


async def test_a_wallet_longer_than_a_page_is_compared_across_the_pages(world, monkeypatch):
    """Memory is bounded by the page: fold, stream and documents go on where the last page ended."""
    source, target, events = await world.two_wallets()
    await world.run(*[transfer(source, target, "1") for _ in range(20)])
    monkeypatch.setattr(parts, "PAGE_ENTRIES", 7)
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 5)
    assert await world.differences(source) == []

    last = (await world.run(credit(source, "1")))[0]
    await world.stores.search.delete(index=world.stores.statement.alias, id=events[source, 1].event_id)
    await world.change_document(world.stores.statement, last.event_id, last.version + 1, amount="2.0000")
    await world.execute("UPDATE ledger SET reference = 'x' WHERE wallet_id = $1::uuid AND version = 15", source)

    whats = [one.what for one in await world.differences(source)]
    assert f"wallet-ledger document {events[source, 1].event_id}" in whats
    assert f"wallet-ledger document {last.event_id} amount" in whats
    assert "revision 15 reference" in whats
    assert len(whats) == 4


async def test_a_wallet_with_many_differences_is_cut_short(world):
    """The first twenty tell what is wrong; the others are counted."""
    wallet_id = new_id()
    events = await world.run_in_postgres(create_wallet(wallet_id), *[credit(wallet_id) for _ in range(29)])
    await world.project(events)

    found = await world.differences(wallet_id)

    assert len(found) == 21
    assert found[-1].what == "further differences"
    assert found[-1].found == "10"


@pytest.mark.parametrize("away", ["postgres", "kurrentdb", "elasticsearch"])
async def test_a_store_that_is_away_is_said_to_be(fresh, away):
    """Nothing is compared with what cannot be asked."""
    await fresh.two_wallets()
    stores = fresh.stores
    if away == "kurrentdb":
        fresh.standin.kill()
    elif away == "elasticsearch":
        gone = dataclasses.replace(stores.wallets, alias="no-such-alias")
        stores = dataclasses.replace(stores, wallets=gone)
    else:
        await fresh.execute("ALTER TABLE wallets RENAME TO elsewhere")

    with pytest.raises(Unavailable, match=f"(?i){away}"):
        await verify(stores)

"""The comparison of all stores: each way in which one of them can be wrong is found, and nothing else is."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from uuid import UUID

import orjson
import pytest
from esdbclient import NewEvent as StoredEvent

from tests.support.audited import audited
from tests.support.commands import create_wallet, credit, debit, new_id, transfer
from worker.audit import documents, parts
from worker.audit.report import Difference, Store
from worker.audit.verify import verify
from worker.errors import Unavailable

AT_ONCE_S = 0.0
"""For what cannot be in flight: the first close look decides."""


@pytest.fixture(scope="module")
async def world(stack, tmp_path_factory):
    """Stores that are shared by those who look at their own wallets only."""
    async with audited(stack.environment(), tmp_path_factory.mktemp("verify")) as shared:
        yield shared


@pytest.fixture
async def fresh(stack, tmp_path):
    """Stores of the test's own."""
    async with audited(stack.environment(), tmp_path) as own:
        yield own


async def _two_wallets(world):
    """Two wallets with a history of every kind of event: their ids, source and target, and the events by key."""
    source, target = sorted([new_id(), new_id()])
    events = await world.run(
        create_wallet(source, "100", metadata={"b": 1, "a": [1.5, None]}),
        create_wallet(target, "0"),
        credit(source, "5", reference="r-1", metadata={"why": "gift"}),
        transfer(source, target, "30"),
        debit(target, "10"),
    )
    return source, target, {(event.wallet_id, event.version): event for event in events}


async def _differences(world, *wallet_ids):
    """What differs in these wallets."""
    report = await verify(world.stores, settle_s=AT_ONCE_S)
    return [one for one in report.differences if one.wallet_id in wallet_ids]


async def _change_document(world, projection, document_id, version, **fields):
    """Alter a document under the external version that it has."""
    search, alias = world.stores.search, projection.alias
    source = (await search.get(index=alias, id=document_id))["_source"]
    changed = {"index": alias, "id": document_id, "document": source | fields}
    await search.index(**changed, version=version, version_type="external_gte")


async def test_stores_that_agree_show_no_difference(fresh):
    """Everything is counted, nothing is reported, and there is no wait."""
    await _two_wallets(fresh)

    report = await verify(fresh.stores)

    assert report.is_clean
    # The empty wallet's first event moved no money: it is no line of the statement.
    assert (report.wallets, report.events, report.documents) == (2, 6, 2 + 5)
    assert report.seconds < 10


async def test_empty_stores_agree(fresh):
    """Nothing anywhere is no difference."""
    assert (await verify(fresh.stores)).is_clean


async def test_a_row_with_another_balance_is_found_with_the_sum_over_all(fresh):
    """The row is held against the fold of its ledger; money out of nothing shows in the sum as well."""
    source, _, _ = await _two_wallets(fresh)
    await fresh.execute("UPDATE wallets SET balance = balance + 1 WHERE id = $1::uuid", source)

    found = (await verify(fresh.stores, settle_s=AT_ONCE_S)).differences

    assert found == (
        Difference(None, Store.POSTGRES, "sum of all USD balances (credits less debits)", "95.0000", "96.0000"),
        Difference(source, Store.POSTGRES, "wallets row balance", "75.0000", "76.0000"),
    )


async def test_a_row_with_another_version_is_found(world):
    """The row's version is that of the last entry; the documents follow the ledger, not the row."""
    source, _, _ = await _two_wallets(world)
    await world.execute("UPDATE wallets SET version = 7 WHERE id = $1::uuid", source)

    assert await _differences(world, source) == [Difference(source, Store.POSTGRES, "wallets row version", "2", "7")]


async def test_a_row_that_is_gone_is_found(world):
    """A ledger without its wallet: of what the other stores have, nothing can be said."""
    source, target, _ = await _two_wallets(world)
    await world.execute("DELETE FROM wallets WHERE id = $1::uuid", source)

    found = await _differences(world, source, target)

    assert found == [Difference(source, Store.POSTGRES, "wallets row (by the ledger)", "version 2", "none")]


async def test_an_entry_with_another_balance_is_found_where_it_stands(world):
    """The ledger is held against its own fold; the events in KurrentDB and the lines bear witness against it."""
    source, _, events = await _two_wallets(world)
    await world.execute("UPDATE ledger SET balance = 106 WHERE wallet_id = $1::uuid AND version = 1", source)

    found = await _differences(world, source)

    assert found[0] == Difference(source, Store.POSTGRES, "ledger 1 balance", "105.0000", "106.0000")
    assert Difference(source, Store.KURRENTDB, "revision 1 balance", "106.0000", "105.0000") in found
    line = f"wallet-ledger document {events[source, 1].event_id} balance"
    assert Difference(source, Store.ELASTICSEARCH, line, "106.0000", "105.0000") in found


async def test_an_entry_that_is_gone_is_found(world):
    """Versions run without a gap."""
    source, _, _ = await _two_wallets(world)
    await world.execute("DELETE FROM ledger WHERE wallet_id = $1::uuid AND version = 1", source)

    found = await _differences(world, source)

    assert Difference(source, Store.POSTGRES, "ledger 2 follows version", "0", "1") in found
    assert any(one.what == "ledger 1" and one.found == "none" for one in found)


async def test_a_command_that_does_not_list_its_event_is_found(world):
    """Recall sends what `commands` lists, so an entry that no command lists would never be sent again."""
    source, _, events = await _two_wallets(world)
    command_id = events[source, 1].properties["$causationId"]
    await world.execute(
        "UPDATE commands SET event_wallet_ids = '{}', event_versions = '{}' WHERE command_id = $1::uuid", command_id
    )

    (found,) = await _differences(world, source)

    assert found[:4] == (source, Store.POSTGRES, "ledger 1", "listed by its command")
    assert command_id in found.found


async def test_a_command_that_lists_another_event_is_found(world):
    """A version that the ledger does not have, and the one that it has, which nobody lists."""
    source, _, events = await _two_wallets(world)
    command_id = events[source, 1].properties["$causationId"]
    await world.execute("UPDATE commands SET event_versions = '{9}' WHERE command_id = $1::uuid", command_id)

    found = await _differences(world, source)

    assert Difference(source, Store.POSTGRES, "ledger 9", f"of command {command_id}", "none") in found
    assert [one.what for one in found] == ["ledger 9", "ledger 1"]


async def test_an_event_too_many_is_found(world):
    """A stream ends where the ledger ends."""
    source, _, _ = await _two_wallets(world)
    extra = StoredEvent(type="WalletCredited", data=b"{}")
    world.standin.append_stored(f"wallet-{source}", [extra])

    assert await _differences(world, source) == [
        Difference(source, Store.KURRENTDB, "revision 3", "none", f"WalletCredited {extra.id}")
    ]


async def test_an_event_that_was_never_appended_is_found(world):
    """A process died between commit and append, and nobody came back."""
    source, _, _ = await _two_wallets(world)
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])

    assert await _differences(world, source) == [
        Difference(source, Store.KURRENTDB, "revision 3", f"WalletCredited {event.event_id}", "none")
    ]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("id", {"id": UUID(int=1)}),
        ("type", {"type": "WalletDebited"}),
        ("amount", {"data": lambda data: data.replace(b'"amount":"1.0000"', b'"amount":"2.0000"')}),
        ("bytes", {"data": lambda data: data.replace(b'"version":3', b'"version": 3')}),
        ("$causationId", {"metadata": b'{"$causationId":"x"}'}),
    ],
)
async def test_an_event_that_is_not_the_ledgers_is_found(world, what, change):
    """Id, type, data to the byte, and metadata are those that the ledger makes."""
    source, _, _ = await _two_wallets(world)
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])
    fields = {
        "id": UUID(event.event_id),
        "type": event.type,
        "data": event.data,
        "metadata": orjson.dumps(event.properties),
    }
    changes = {name: value(event.data) if callable(value) else value for name, value in change.items()}
    world.standin.append_stored(f"wallet-{source}", [StoredEvent(**(fields | changes))])

    (found,) = await _differences(world, source)

    assert found[:3] == (source, Store.KURRENTDB, f"revision 3 {what}")


async def test_keys_that_the_server_adds_to_metadata_are_no_difference(world):
    """`$schema.…` is KurrentDB's own (contract, "KurrentDB")."""
    source, _, _ = await _two_wallets(world)
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])
    metadata = orjson.dumps({"$schema.format": "Json"} | event.properties)
    stored = StoredEvent(id=UUID(event.event_id), type=event.type, data=event.data, metadata=metadata)
    world.standin.append_stored(f"wallet-{source}", [stored])

    assert await _differences(world, source) == []


async def test_streams_that_no_wallet_has_are_found(fresh):
    """A wallet that Postgres does not know, and a stream whose name is no wallet's."""
    await _two_wallets(fresh)
    unknown, extra = new_id(), StoredEvent(type="WalletCreated", data=b"{}")
    fresh.standin.append_stored(f"wallet-{unknown}", [extra])
    fresh.standin.append_stored("wallet-of-nobody", [StoredEvent(type="WalletCreated", data=b"{}")])

    assert (await verify(fresh.stores, settle_s=AT_ONCE_S)).differences == (
        Difference(None, Store.KURRENTDB, "stream wallet-of-nobody", "none", "events"),
        Difference(unknown, Store.KURRENTDB, "revision 0", "none", f"WalletCreated {extra.id}"),
    )


async def test_a_wallets_document_that_is_gone_is_found(world):
    """Each wallet has its document."""
    source, _, _ = await _two_wallets(world)
    await world.stores.search.delete(index=world.stores.wallets.alias, id=source)

    assert await _differences(world, source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document", "version 2", "none")
    ]


async def test_a_wallets_document_that_was_altered_is_found(world):
    """Every field is compared."""
    source, _, _ = await _two_wallets(world)
    await _change_document(world, world.stores.wallets, source, 3, balanceMinor=1, ownerId="somebody else")

    assert await _differences(world, source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document ownerId", "owner", "somebody else"),
        Difference(source, Store.ELASTICSEARCH, "wallets document balanceMinor", "750000", "1"),
    ]


async def test_a_wallets_document_that_stays_behind_is_found(world):
    """What was right once is no longer."""
    source, _, _ = await _two_wallets(world)
    await world.append(await world.run_in_postgres(credit(source, "1")))

    found = await _differences(world, source)

    assert Difference(source, Store.ELASTICSEARCH, "wallets document version", "3", "2") in found
    assert [one.what.split()[0] for one in found] == ["wallets", "wallet-ledger"]


async def test_a_wallets_document_under_a_higher_version_is_found(world):
    """Elasticsearch would refuse the next event's document for an older one."""
    source, _, _ = await _two_wallets(world)
    await _change_document(world, world.stores.wallets, source, 9)

    assert await _differences(world, source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document _version", "3", "9")
    ]


async def test_a_line_of_the_statement_that_is_gone_is_found(world):
    """Each event that moved money has its line."""
    source, _, events = await _two_wallets(world)
    event_id = events[source, 1].event_id
    await world.stores.search.delete(index=world.stores.statement.alias, id=event_id)

    assert await _differences(world, source) == [
        Difference(
            source, Store.ELASTICSEARCH, f"wallet-ledger document {event_id}", "WalletCredited version 1", "none"
        )
    ]


async def test_a_line_of_the_statement_that_was_altered_is_found(world):
    """Every field is compared."""
    source, _, events = await _two_wallets(world)
    event_id = events[source, 1].event_id
    await _change_document(world, world.stores.statement, event_id, 2, amount="6.0000")

    assert await _differences(world, source) == [
        Difference(source, Store.ELASTICSEARCH, f"wallet-ledger document {event_id} amount", "5.0000", "6.0000")
    ]


async def test_documents_too_many_are_found(world):
    """A wallet and a line that the ledger does not know."""
    source, _, events = await _two_wallets(world)
    search, unknown = world.stores.search, new_id()
    wallets, statement = world.stores.wallets.alias, world.stores.statement.alias
    source_of = {"walletId": unknown, "version": 0}
    await search.index(index=wallets, id=unknown, document=source_of, version=1, version_type="external")
    line = (await search.get(index=statement, id=events[source, 1].event_id))["_source"]
    await search.index(index=statement, id="a-copy", document=line, version=2, version_type="external")

    found = await _differences(world, source, unknown)

    assert sorted(found) == sorted(
        [
            Difference(unknown, Store.ELASTICSEARCH, "wallets document version", "none", "0"),
            Difference(source, Store.ELASTICSEARCH, "wallet-ledger document a-copy", "none", "version 1"),
        ]
    )


async def test_what_is_in_flight_is_no_difference(fresh):
    """What arrives within the time that is allowed was on its way."""
    source, _, _ = await _two_wallets(fresh)
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
    source, target, _ = await _two_wallets(fresh)
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
    source, target, events = await _two_wallets(world)
    await world.run(*[transfer(source, target, "1") for _ in range(20)])
    monkeypatch.setattr(parts, "PAGE_ENTRIES", 7)
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 5)
    assert await _differences(world, source) == []

    last = (await world.run(credit(source, "1")))[0]
    await world.stores.search.delete(index=world.stores.statement.alias, id=events[source, 1].event_id)
    await _change_document(world, world.stores.statement, last.event_id, last.version + 1, amount="2.0000")
    await world.execute("UPDATE ledger SET reference = 'x' WHERE wallet_id = $1::uuid AND version = 15", source)

    whats = [one.what for one in await _differences(world, source)]
    assert f"wallet-ledger document {events[source, 1].event_id}" in whats
    assert f"wallet-ledger document {last.event_id} amount" in whats
    assert "revision 15 reference" in whats
    assert len(whats) == 4


async def test_a_wallet_with_many_differences_is_cut_short(world):
    """The first twenty tell what is wrong; the others are counted."""
    wallet_id = new_id()
    events = await world.run_in_postgres(create_wallet(wallet_id), *[credit(wallet_id) for _ in range(29)])
    await world.project(events)

    found = await _differences(world, wallet_id)

    assert len(found) == 21
    assert found[-1].what == "further differences"
    assert found[-1].found == "10"


@pytest.mark.parametrize("away", ["postgres", "kurrentdb", "elasticsearch"])
async def test_a_store_that_is_away_is_said_to_be(fresh, away):
    """Nothing is compared with what cannot be asked."""
    await _two_wallets(fresh)
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

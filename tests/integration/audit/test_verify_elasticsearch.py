"""The documents held against the ledger: each way in which they can be wrong is found."""

from __future__ import annotations

from tests.support.commands import credit, new_id
from worker.audit.report import Difference, Kind, Store


async def test_a_wallets_document_that_is_gone_is_found(world):
    """Each wallet has its document."""
    source, _, _ = await world.two_wallets()
    await world.stores.search.delete(index=world.stores.wallets.alias, id=source)

    assert await world.differences(source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document", "version 2", "none", Kind.LAGS)
    ]


async def test_a_wallets_document_that_was_altered_is_found(world):
    """Every field is compared."""
    source, _, _ = await world.two_wallets()
    await world.change_document(world.stores.wallets, source, 3, balanceMinor=1, ownerId="somebody else")

    assert await world.differences(source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document ownerId", "owner", "somebody else"),
        Difference(source, Store.ELASTICSEARCH, "wallets document balanceMinor", "750000", "1"),
    ]


async def test_a_wallets_document_that_stays_behind_is_found(world):
    """What was right once is no longer."""
    source, _, _ = await world.two_wallets()
    await world.append(await world.run_in_postgres(credit(source, "1")))

    found = await world.differences(source)

    assert Difference(source, Store.ELASTICSEARCH, "wallets document version", "3", "2", Kind.LAGS) in found
    assert [one.what.split()[0] for one in found] == ["wallets", "wallet-ledger"]


async def test_a_wallets_document_under_a_higher_version_is_found(world):
    """Elasticsearch would refuse the next event's document for an older one."""
    source, _, _ = await world.two_wallets()
    await world.change_document(world.stores.wallets, source, 9)

    assert await world.differences(source) == [
        Difference(source, Store.ELASTICSEARCH, "wallets document _version", "3", "9")
    ]


async def test_a_line_of_the_statement_that_is_gone_is_found(world):
    """Each event that moved money has its line."""
    source, _, events = await world.two_wallets()
    event_id = events[source, 1].event_id
    await world.stores.search.delete(index=world.stores.statement.alias, id=event_id)

    assert await world.differences(source) == [
        Difference(
            source,
            Store.ELASTICSEARCH,
            f"wallet-ledger document {event_id}",
            "WalletCredited version 1",
            "none",
            Kind.LAGS,
        )
    ]


async def test_a_line_of_the_statement_that_was_altered_is_found(world):
    """Every field is compared."""
    source, _, events = await world.two_wallets()
    event_id = events[source, 1].event_id
    await world.change_document(world.stores.statement, event_id, 2, amount="6.0000")

    assert await world.differences(source) == [
        Difference(source, Store.ELASTICSEARCH, f"wallet-ledger document {event_id} amount", "5.0000", "6.0000")
    ]


async def test_documents_too_many_are_found(world):
    """A wallet and a line that the ledger does not know."""
    source, _, events = await world.two_wallets()
    search, unknown = world.stores.search, new_id()
    wallets, statement = world.stores.wallets.alias, world.stores.statement.alias
    source_of = {"walletId": unknown, "version": 0}
    await search.index(index=wallets, id=unknown, document=source_of, version=1, version_type="external")
    line = (await search.get(index=statement, id=events[source, 1].event_id))["_source"]
    await search.index(index=statement, id="a-copy", document=line, version=2, version_type="external")

    found = await world.differences(source, unknown)

    assert sorted(found) == sorted(
        [
            Difference(unknown, Store.ELASTICSEARCH, "wallets document version", "none", "0"),
            Difference(source, Store.ELASTICSEARCH, "wallet-ledger document a-copy", "none", "version 1"),
        ]
    )

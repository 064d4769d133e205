"""The checker bites: documents that are not what the rows say, and rows of a wallet that is not there, are found."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.accounts import stray_wallets
from tests.support.audited import Audited
from tests.support.commands import create_wallet, credit, new_id, place_hold, release_hold
from tests.support.documents import Documents
from tests.support.invariants import read_books

AGREED = (1, 2, 5)
"""How many wallets, holds and lines there are."""
MADE_UP = {"walletId": new_id(), "version": 0}


@pytest.fixture
def here(fresh: Audited, stack) -> SimpleNamespace:
    """The stores, as the checker is told of a world."""
    own = {"DB_NAME": fresh.stores.engine.url.database, "KURRENTDB_URI": fresh.standin.uri}
    return SimpleNamespace(environment=stack.environment() | own)


@pytest.fixture
async def ids(fresh: Audited) -> list[str]:
    """A wallet, a hold and a line that agree in all stores: their documents' ids, in the order of the projections."""
    wallet, hold, released = (new_id() for _ in range(3))
    holds = [place_hold(wallet, id_, "4", reference="r-1", metadata={"a": [1.5]}) for id_ in (hold, released)]
    *_, paid = await fresh.run(create_wallet(wallet), *holds, release_hold(wallet, released), credit(wallet))
    return [wallet, paid.event_id, hold]


@pytest.fixture
def documents(fresh: Audited, here) -> Documents:
    """The documents, for the checker."""
    stores = fresh.stores
    return Documents(here, stores.search, stores.projections)


async def found(documents: Documents, here) -> list[str]:
    """What the checker finds, without the documents and the rows."""
    await documents.refresh()
    return [one.partition(" is ")[0] for one in await documents.violations(await read_books(here))]


def said(ids: list[str]) -> list[str]:
    """What the checker says where none of three documents is as it should be, in its order."""
    wallet, line, hold = ids
    return [f"the document of the {what} {id_}" for what, id_ in (("wallet", wallet), ("hold", hold), ("line", line))]


async def test_documents_with_another_field_are_found(fresh, here, ids, documents):
    """Of a wallet, of a line of the statement, and of a hold."""
    assert await found(documents, here) == []

    changes = {"status": "CLOSED"}, {"reference": "r-2"}, {"capturedAmountMinor": 1}
    for projection, id_, change in zip(fresh.stores.projections, ids, changes, strict=True):
        version = (await fresh.stores.search.get(index=projection.alias, id=id_))["_version"]
        await fresh.change_document(projection, id_, version, **change)

    assert await found(documents, here) == said(ids)
    assert await documents.count() == AGREED


async def test_documents_under_another_version_are_found(fresh, here, ids, documents):
    """Elasticsearch would refuse the next event's document, or take an older one's."""
    for projection, id_ in zip(fresh.stores.projections, ids, strict=True):
        await fresh.change_document(projection, id_, 9)

    assert await found(documents, here) == said(ids)


async def test_documents_that_are_gone_are_found(fresh, here, ids, documents):
    """One of each; and by their number alone."""
    await documents.refresh()
    assert await documents.count() == AGREED

    for projection, id_ in zip(fresh.stores.projections, ids, strict=True):
        await fresh.stores.search.delete(index=projection.alias, id=id_)

    assert await found(documents, here) == said(ids)
    assert await documents.count() == tuple(count - 1 for count in AGREED)


async def test_documents_that_nothing_made_are_found(fresh, here, ids, documents):
    """Whoever put them there; and by their number alone."""
    names = [new_id() for _ in ids]
    for projection, id_ in zip(fresh.stores.projections, names, strict=True):
        await fresh.stores.search.index(index=projection.alias, id=id_, document=MADE_UP)

    assert await found(documents, here) == said(names)
    assert await documents.count() == tuple(count + 1 for count in AGREED)


async def test_rows_of_a_wallet_that_is_not_there_are_found(fresh, here):
    """A foreign key keeps the wallets of holds; those of entries can be deleted."""
    source, target, _ = await fresh.two_wallets()
    assert await stray_wallets(here) == []

    await fresh.execute("DELETE FROM wallets WHERE id = $1::uuid", source)

    assert await stray_wallets(here) == [source]
    assert [*(await read_books(here)).wallets] == [target]

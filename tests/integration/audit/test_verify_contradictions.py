"""What contradicts is for a person: a repair leaves such a wallet as it is, to the byte, in every store.

Each wallet here also lacks its last event in every other store, which is what tempts a repair to write.
"""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest
from esdbclient import EventStoreDBClient, StreamState
from esdbclient import NewEvent as StoredEvent

from tests.support.audited import AT_ONCE_S
from tests.support.commands import create_wallet, credit, new_id, place_hold
from worker.audit.repair import verify_and_repair
from worker.audit.report import Kind, Store
from worker.contracts.events import stream_name


async def _behind(fresh):
    """A wallet at version 2, of which the last event is in Postgres only: its id, its hold's, and that event."""
    wallet, hold = new_id(), new_id()
    await fresh.run(create_wallet(wallet), place_hold(wallet, hold))
    (event,) = await fresh.run_in_postgres(credit(wallet))
    return wallet, hold, event


async def _assert_untouched(fresh, wallet_id):
    """A repair says that the wallet contradicts, and changes nothing; a wallet beside it is mended."""
    stands = await fresh.everything()

    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S, older_than_s=0.0)

    assert report.repaired == ()
    assert {one.wallet_id for one in report.not_repaired} <= {wallet_id}
    assert Kind.CONTRADICTS in {one.kind for one in report.differences if one.wallet_id == wallet_id}
    assert await fresh.everything() == stands
    beside = new_id()
    await fresh.run_in_postgres(create_wallet(beside))
    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S, older_than_s=0.0)
    assert {one.wallet_id for one in report.repaired} == {beside}
    assert beside not in {one.wallet_id for one in report.differences}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallets SET balance = balance + 1",
        "UPDATE wallets SET version = version + 1",
        "UPDATE wallets SET metadata = '{\"a\":1}'",
        "UPDATE holds SET reference = 'x'",
        "DELETE FROM holds",
        "UPDATE ledger SET balance = balance + 1 WHERE version = 1",
        "UPDATE ledger SET amount = amount + 1 WHERE version = 2",
        "DELETE FROM ledger WHERE version = 1",
        "UPDATE commands SET event_versions = '{7}' WHERE event_versions = '{2}'",
        "DELETE FROM commands WHERE event_versions = '{2}'",
    ],
)
async def test_postgres_that_contradicts_itself_is_left_alone(fresh, change):
    """Which of its rows is right, nobody here can know."""
    wallet, _, _ = await _behind(fresh)
    await fresh.execute(change)

    await _assert_untouched(fresh, wallet)


async def test_a_stream_that_is_ahead_of_the_ledger_is_left_alone(fresh):
    """Something wrote there that is not the ledger."""
    wallet, _, event = await _behind(fresh)
    await fresh.append([event])
    fresh.standin.append_stored(stream_name(wallet), [StoredEvent(type="WalletCredited", data=b"{}")])

    await _assert_untouched(fresh, wallet)


@pytest.mark.parametrize(
    "change",
    [
        {"id": UUID(int=1)},
        {"type": "WalletDebited"},
        {"data": b"{}"},
        {"metadata": b"{}"},
    ],
)
async def test_a_stream_with_other_events_is_left_alone(fresh, change):
    """Other ids, types or bytes than those that the ledger makes."""
    wallet, _, event = await _behind(fresh)
    fields = {"id": UUID(event.event_id), "type": event.type, "data": event.data}
    stored = StoredEvent(**({"metadata": orjson.dumps(event.properties)} | fields | change))
    fresh.standin.append_stored(stream_name(wallet), [stored])

    await _assert_untouched(fresh, wallet)


@pytest.mark.parametrize("how", ["deleted", "tombstoned", "truncated"])
async def test_a_stream_that_somebody_deleted_or_cut_is_left_alone(fresh, how):
    """An append to a deleted stream would bring it back at other revisions."""
    wallet, _, _ = await _behind(fresh)
    client = EventStoreDBClient(fresh.standin.uri)
    try:
        if how == "deleted":
            client.delete_stream(stream_name(wallet), current_version=StreamState.ANY)
        elif how == "tombstoned":
            client.tombstone_stream(stream_name(wallet), current_version=StreamState.ANY)
        else:
            client.set_stream_metadata(stream_name(wallet), metadata={"$tb": 1}, current_version=StreamState.ANY)
    finally:
        client.close()

    await _assert_untouched(fresh, wallet)


async def test_a_stream_of_no_wallet_is_left_alone(fresh):
    """It is reported, and stays."""
    wallet = new_id()
    fresh.standin.append_stored(stream_name(wallet), [StoredEvent(type="WalletCreated", data=b"{}")])

    await _assert_untouched(fresh, wallet)


@pytest.mark.parametrize(
    ("alias", "version", "fields"),
    [
        ("wallets", 2, {"ownerId": "somebody else"}),
        ("wallets", 9, {}),
        ("wallets", 9, {"version": 8}),
        ("wallets", 2, {"version": None}),
        ("holds", 2, {"amount": "7.0000"}),
        ("holds", 9, {}),
        ("holds", 9, {"version": 8}),
        ("statement", 2, {"amount": "7.0000"}),
        ("statement", 9, {}),
        ("statement", 9, {"version": 8}),
    ],
)
async def test_a_foreign_document_is_left_alone(fresh, alias, version, fields):
    """Its fields are not those of its event, or its version is higher than any that the ledger has."""
    wallet, hold, _ = await _behind(fresh)
    (line,) = [event.id for event in await fresh.stores.streams.read(wallet, 1, 1)]
    document = {"wallets": wallet, "holds": hold, "statement": line}[alias]
    await fresh.change_document(getattr(fresh.stores, alias), document, version, **fields)

    await _assert_untouched(fresh, wallet)


async def test_a_document_of_no_wallet_is_left_alone(fresh):
    """Somebody else's, or of a database that is gone."""
    unknown = new_id()
    await fresh.stores.search.index(
        index=fresh.stores.wallets.alias,
        id=unknown,
        document={"walletId": unknown, "version": 0},
        version=1,
        version_type="external",
    )

    await _assert_untouched(fresh, unknown)


async def test_what_contradicts_is_told_from_what_only_lags_beside_it(fresh):
    """A person sees what is wrong with the wallet, and what a repair would do once it is not."""
    wallet, _, _ = await _behind(fresh)
    await fresh.change_document(fresh.stores.wallets, wallet, 2, ownerId="somebody else")

    report = await verify_and_repair(fresh.stores, settle_s=AT_ONCE_S, older_than_s=0.0)

    assert [(one.store, one.what) for one in report.contradictions] == [
        (Store.ELASTICSEARCH, "wallets document ownerId")
    ]
    assert len(report.differences) == 4

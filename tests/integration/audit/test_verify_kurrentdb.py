"""The streams held against the ledger: each way in which they can be wrong is found."""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest
from esdbclient import EventStoreDBClient, StreamState
from esdbclient import NewEvent as StoredEvent

from tests.support.audited import AT_ONCE_S
from tests.support.commands import credit, new_id
from worker.audit.report import Difference, Kind, Store
from worker.audit.verify import verify
from worker.contracts.events import stream_name


async def test_an_event_too_many_is_found(world):
    """A stream ends where the ledger ends."""
    source, _, _ = await world.two_wallets()
    extra = StoredEvent(type="WalletCredited", data=b"{}")
    world.standin.append_stored(f"wallet-{source}", [extra])

    assert await world.differences(source) == [
        Difference(source, Store.KURRENTDB, "revision 3", "none", f"WalletCredited {extra.id}")
    ]


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        (b"\xff\xfe", b"\xff\xfe"),
        (b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", b'{"$causationId":' + b"[" * 300 + b"]" * 300 + b"}"),
    ],
)
async def test_an_event_that_nobody_can_read_is_found_and_ends_no_comparison(world, data, metadata):
    """Whatever somebody else wrote in the place of ours: bytes that are no text, JSON that is nested without end."""
    source, _, _ = await world.two_wallets()
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])
    foreign = StoredEvent(type=event.type, data=data, metadata=metadata)
    world.standin.append_stored(f"wallet-{source}", [foreign])

    found = await world.differences(source)

    assert {one.kind for one in found} == {Kind.CONTRADICTS}
    assert {one.store for one in found} == {Store.KURRENTDB}


@pytest.mark.parametrize(
    "metadata", [{"$tb": 1}, {"$tb": 3}, {"$maxCount": 2}, {"$maxCount": 1000}, {"$maxAge": 10**9}]
)
async def test_what_hides_events_is_found_though_the_wallet_is_in_step(world, metadata):
    """The next scavenge takes for good what the metadata hides; what it hides later counts as well."""
    source, target, _ = await world.two_wallets()
    client = EventStoreDBClient(world.standin.uri)
    try:
        client.set_stream_metadata(stream_name(source), metadata=metadata, current_version=StreamState.ANY)
        client.set_stream_metadata(stream_name(target), metadata={"owner": "me"}, current_version=StreamState.ANY)
    finally:
        client.close()

    found = await world.differences(source, target)

    assert {(one.wallet_id, one.store, one.kind) for one in found} == {(source, Store.KURRENTDB, Kind.CONTRADICTS)}
    (hides,) = [one.found for one in found if one.what == "what hides events of the stream"]
    assert hides.startswith(orjson.dumps(metadata).decode())


async def test_a_deleted_stream_is_found_and_comes_back_as_the_difference_says(fresh):
    """KurrentDB's own page deletes softly: the metadata without it, written twice, brings every event back."""
    source, _, _ = await fresh.two_wallets()
    client = EventStoreDBClient(fresh.standin.uri)
    try:
        client.delete_stream(stream_name(source), current_version=StreamState.ANY)
        deleted = await fresh.differences(source)
        back = {"metadata": {"$tb": 0}, "current_version": StreamState.ANY}
        client.set_stream_metadata(stream_name(source), **back)
        once = await fresh.differences(source)
        client.set_stream_metadata(stream_name(source), **back)
    finally:
        client.close()

    (hides,) = [one.found for one in deleted if one.what == "what hides events of the stream"]
    assert "twice" in hides
    assert {one.kind for one in deleted} == {Kind.CONTRADICTS}
    assert "what hides events of the stream" in {one.what for one in once}
    assert await fresh.differences(source) == []


async def test_an_event_that_was_never_appended_is_found(world):
    """A process died between commit and append, and nobody came back."""
    source, _, _ = await world.two_wallets()
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])

    assert await world.differences(source) == [
        Difference(source, Store.KURRENTDB, "revision 3", f"WalletCredited {event.event_id}", "none", Kind.LAGS)
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
    source, _, _ = await world.two_wallets()
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

    (found,) = await world.differences(source)

    assert found[:3] == (source, Store.KURRENTDB, f"revision 3 {what}")


async def test_keys_that_the_server_adds_to_metadata_are_no_difference(world):
    """`$schema.…` is KurrentDB's own (contract, "KurrentDB")."""
    source, _, _ = await world.two_wallets()
    (event,) = await world.run_in_postgres(credit(source, "1"))
    await world.project([event])
    metadata = orjson.dumps({"$schema.format": "Json"} | event.properties)
    stored = StoredEvent(id=UUID(event.event_id), type=event.type, data=event.data, metadata=metadata)
    world.standin.append_stored(f"wallet-{source}", [stored])

    assert await world.differences(source) == []


async def test_streams_that_no_wallet_has_are_found(fresh):
    """A wallet that Postgres does not know, and a stream whose name is no wallet's."""
    await fresh.two_wallets()
    unknown, extra = new_id(), StoredEvent(type="WalletCreated", data=b"{}")
    fresh.standin.append_stored(f"wallet-{unknown}", [extra])
    fresh.standin.append_stored("wallet-of-nobody", [StoredEvent(type="WalletCreated", data=b"{}")])

    assert (await verify(fresh.stores, settle_s=AT_ONCE_S)).differences == (
        Difference(None, Store.KURRENTDB, "stream wallet-of-nobody", "none", "events"),
        Difference(unknown, Store.KURRENTDB, "revision 0", "none", f"WalletCreated {extra.id}"),
    )

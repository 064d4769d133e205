"""The real, unmodified esdbclient against the stand-in."""

from __future__ import annotations

import asyncio
import json

import pytest
from esdbclient import AsyncEventStoreDBClient, CaughtUp, Checkpoint, EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import NotFound, StreamIsDeleted, WrongCurrentVersion

from tests.integration.kurrentdb.conftest import Start

WALLETS = ("wallet-.*",)


def events(*types: str) -> list[NewEvent]:
    return [NewEvent(type=kind, data=b'{"n":1}', metadata=b'{"m":2}') for kind in types]


async def test_sync_client_appends_reads_follows_and_deletes(start: Start) -> None:
    """Every call of the synchronous client that the stand-in promises."""
    uri = (await start()).uri

    await asyncio.to_thread(_use_sync_client, uri)


def _use_sync_client(uri: str) -> None:
    with EventStoreDBClient(uri) as client:
        first = client.append_to_stream("wallet-1", current_version=StreamState.NO_STREAM, events=events("A", "B"))
        second = client.append_event("wallet-1", current_version=1, event=events("C")[0])
        client.append_to_stream("other-1", current_version=StreamState.ANY, events=events("A"))
        assert client.get_commit_position(filter_include=WALLETS, filter_by_stream_name=True) == second > first

        stream = client.get_stream("wallet-1")
        assert [(event.type, event.stream_position) for event in stream] == [("A", 0), ("B", 1), ("C", 2)]
        assert stream[2].commit_position == second
        assert (stream[0].data, stream[0].metadata, stream[0].content_type) == (
            b'{"n":1}',
            b'{"m":2}',
            "application/json",
        )
        backwards = client.read_all(backwards=True, filter_include=WALLETS, filter_by_stream_name=True, limit=2)
        assert [event.type for event in backwards] == ["C", "B"]
        with pytest.raises(WrongCurrentVersion):
            client.append_to_stream("wallet-1", current_version=0, events=events("D"))

        with client.subscribe_to_all(
            filter_include=WALLETS, filter_by_stream_name=True, include_checkpoints=True, include_caught_up=True
        ) as subscription:
            seen = [next(subscription) for _ in range(5)]
        assert [event.type for event in seen[:3]] == ["A", "B", "C"]
        assert [type(event) for event in seen[3:]] == [Checkpoint, CaughtUp]

        client.set_stream_metadata("wallet-1", metadata={"$maxCount": 1})
        assert client.get_stream_metadata("wallet-1") == ({"$maxCount": 1}, 0)
        assert [event.type for event in client.get_stream("wallet-1")] == ["C"]
        client.delete_stream("wallet-1", current_version=2)
        with pytest.raises(NotFound):
            client.get_stream("wallet-1")
        client.tombstone_stream("wallet-1", current_version=StreamState.ANY)
        with pytest.raises(StreamIsDeleted):
            client.get_stream("wallet-1")
        assert list(client.list_subscriptions()) == []
        assert [member.state for member in client.read_gossip()] == ["NODE_STATE_LEADER"]


async def test_async_client_follows_what_is_appended_while_it_listens(start: Start) -> None:
    """A catch-up subscription from a position goes on with new events; one from the end starts with them."""
    client = AsyncEventStoreDBClient((await start()).uri)
    await client.connect()
    position = await client.append_to_stream("wallet-1", current_version=StreamState.NO_STREAM, events=events("A"))
    by_name = {"filter_include": WALLETS, "filter_by_stream_name": True}

    after = await client.subscribe_to_all(commit_position=position, include_caught_up=True, **by_name)
    from_end = await client.subscribe_to_all(from_end=True, include_caught_up=True, **by_name)
    assert isinstance(await anext(after), CaughtUp)
    assert isinstance(await anext(from_end), CaughtUp)
    await client.append_to_stream("wallet-1", current_version=0, events=events("B"))
    await client.append_to_stream("unrelated", current_version=StreamState.NO_STREAM, events=events("X"))
    await client.append_to_stream("wallet-2", current_version=StreamState.NO_STREAM, events=events("C"))

    for subscription in (after, from_end):
        assert [(await anext(subscription)).type for _ in range(2)] == ["B", "C"]
        await subscription.stop()
    of_stream = await client.subscribe_to_stream("wallet-1", stream_position=0)
    assert (await anext(of_stream)).type == "B"
    await of_stream.stop()
    await client.close()


async def test_reading_a_large_log_gives_every_event_once_in_order(start: Start) -> None:
    """Pages, large events and streams mixed: `$all` is the order of the appends, positions rise."""
    client = AsyncEventStoreDBClient((await start()).uri)
    await client.connect()
    appended = []
    for number in range(30):
        batch = [
            NewEvent(type="Happened", data=json.dumps({"n": n, "x": "x" * (n * 3000)}).encode()) for n in range(10)
        ]
        await client.append_to_stream(f"wallet-{number}", current_version=StreamState.NO_STREAM, events=batch)
        appended += [event.id for event in batch]

    found = [event async for event in await client.read_all()]

    assert [event.id for event in found] == appended
    assert sorted({event.commit_position for event in found}) == [event.commit_position for event in found]
    await client.close()

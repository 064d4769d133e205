"""What the projection writes on a real Elasticsearch, how it is found there, and what it refuses to guess."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from esdbclient import NewEvent as StoredEvent

from tests.support.projecting import a_projector, all_written, everything, is_following, until
from tests.support.projection import wallet_events
from worker.errors import Fatal
from worker.projection.document import UnreadableEvent
from worker.projection.progress import read_checkpoint


async def test_events_become_a_wallet_and_its_statement(elasticsearch, kurrentdb, projections, projecting):
    """One document a wallet as it is now, one line for each event that moved money, and no other document in sight."""
    events = wallet_events(["100", "12.5", "0.0001"], metadata='{"order":{"no":17}}')
    kurrentdb.append(events)
    kurrentdb.append(wallet_events(["0"]))

    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)
        await until(lambda: is_following(projector))

    wallets, statement, _ = await everything(elasticsearch, projections)
    version, wallet = wallets[events[0].wallet_id]
    assert (version, wallet["version"], wallet["balance"], wallet["balanceMinor"]) == (3, 2, "112.5001", 1125001)
    assert {event_id: line["amount"] for event_id, (_, line) in statement.items()} == {
        events[0].event_id: "100.0000",
        events[1].event_id: "12.5000",
        events[2].event_id: "0.0001",
    }
    assert len(wallets) == 2
    assert (await elasticsearch.count(index=projections[0].alias))["count"] == 2


async def test_a_statement_can_be_searched_by_money_time_and_metadata(
    elasticsearch, kurrentdb, projections, projecting
):
    """Ranges and sums go over ten-thousandths, times count microseconds, metadata is searched by its path."""
    events = wallet_events(["100", "12.5", "0.0001"], metadata='{"order":{"no":"A-17"}}')
    kurrentdb.append(events)

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    found = await elasticsearch.search(
        index=projections[1].alias,
        query={
            "bool": {
                "filter": [
                    {"term": {"metadata.order.no": "A-17"}},
                    {"range": {"amountMinor": {"lt": 125001}}},
                    {"range": {"occurredAt": {"lt": "2026-11-22T12:00:00.123458Z"}}},
                ]
            }
        },
        aggregations={"sum": {"sum": {"field": "amountMinor"}}},
    )
    assert [hit["_id"] for hit in found["hits"]["hits"]] == [events[1].event_id]
    assert found["aggregations"]["sum"]["value"] == 125000


@pytest.mark.parametrize(
    "metadata",
    [
        {"text": "x" * 8000, "wide": "\U0001f600" * 2000},
        {"a": 1, "b": {"c": [1, "x", None, {"d": [[]]}, True, 1e300, 2**64 - 1, -(2**63)]}, "": {"": 0}},
        {"a.b": 1, "a": {"b": {}}, ".": "", "..": [], "walletId": {"x": 1}, "_id": "x", "k" * 8000: "v" * 100},
        json.loads('{"a":' * 200 + "1" + "}" * 200),
    ],
)
async def test_no_metadata_is_ever_refused(elasticsearch, kurrentdb, projections, projecting, metadata):
    """A caller's own JSON comes back whatever its shape, also next to another of the same keys and other types."""
    text = json.dumps(metadata)
    plain = wallet_events(["1"], metadata='{"a":"text","b":7}', wallet_metadata='{"a":{"b":"text"}}')
    odd = wallet_events(["1"], metadata=text, wallet_metadata=text)
    kurrentdb.append(plain)
    kurrentdb.append(odd)

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    wallets, statement, _ = await everything(elasticsearch, projections)
    assert wallets[odd[0].wallet_id][1]["metadata"] == metadata
    assert statement[odd[0].event_id][1]["metadata"] == metadata
    assert statement[plain[0].event_id][1]["metadata"] == {"a": "text", "b": 7}


async def test_a_document_that_elasticsearch_refuses_stops_the_projector(elasticsearch, kurrentdb, projections):
    """Skipping it would leave a hole that nobody sees: one line names it, and the checkpoint stays before it."""
    events = wallet_events(["100"])
    owner = json.dumps({**json.loads(events[0].data), "ownerId": {"not": "text"}}).encode()
    kurrentdb.append([events[0]._replace(data=owner)])

    with pytest.raises(Fatal, match=f"refused {events[0].wallet_id} in {projections[0].alias}: 400"):
        await a_projector(elasticsearch, kurrentdb, projections).run(asyncio.Event())

    assert await read_checkpoint(elasticsearch, projections) is None


async def test_a_wallets_event_that_cannot_be_read_stops_the_projector(elasticsearch, kurrentdb, projections):
    """What the contract does not describe is not guessed at, under a type that it does."""
    wallet_id = str(uuid4())
    kurrentdb.append_stored(f"wallet-{wallet_id}", [StoredEvent(type="WalletCredited", data=b"{}")])

    with pytest.raises(UnreadableEvent, match=f"revision 0 of wallet-{wallet_id}"):
        await a_projector(elasticsearch, kurrentdb, projections).run(asyncio.Event())


async def test_what_is_no_wallets_event_is_passed_over(elasticsearch, kurrentdb, projections, projecting):
    """Other streams are not read; a type that the contract does not know, in a wallet's stream, is only logged."""
    events = wallet_events(["100"])
    kurrentdb.append_stored("orders-1", [StoredEvent(type="OrderPlaced", data=b"{}")])
    kurrentdb.append(events)
    kurrentdb.append_stored(f"wallet-{events[0].wallet_id}", [StoredEvent(type="NoteTaken", data=b"no JSON")])

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    assert list((await everything(elasticsearch, projections))[0]) == [events[0].wallet_id]

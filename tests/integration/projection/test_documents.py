"""What the projection writes on a real Elasticsearch, how it is found there, and what it refuses to guess."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from uuid import uuid4

import pytest
from esdbclient import NewEvent as StoredEvent
from structlog.testing import capture_logs

from tests.support.projecting import a_projector, all_written, everything, is_following, until
from tests.support.projection import wallet_events
from worker.errors import Fatal
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
    """Of an event that is as it should be: skipping it would leave a hole that nobody sees."""
    events = wallet_events(["100"])
    kurrentdb.append(events)
    unmapped = {name: kind for name, kind in projections[0].properties.items() if name != "ownerId"}
    older = [dataclasses.replace(projections[0], properties=unmapped), *projections[1:]]

    with pytest.raises(Fatal, match=f"refused {events[0].wallet_id} in {projections[0].alias}: 400"):
        await a_projector(elasticsearch, kurrentdb, older).run(asyncio.Event())

    assert await read_checkpoint(elasticsearch, projections) is None


async def test_what_somebody_else_wrote_under_a_type_of_ours_is_told_and_passed_over(
    elasticsearch, kurrentdb, projections, projecting
):
    """Unreadable, of another wallet, or such that no document can be made of it, or that Elasticsearch refuses."""
    events = wallet_events(["100", "1", "1", "1"])
    data = json.loads(events[2].data)
    refused = [{**data, "ownerId": {"not": "text"}}, {**data, "version": 3, "balance": "1.5"}]
    foreign = [b"{}", *(json.dumps(one).encode() for one in refused)]
    kurrentdb.append(events[:1])
    stream = f"wallet-{events[0].wallet_id}"
    kurrentdb.append_stored(stream, [StoredEvent(type="WalletCredited", data=one) for one in foreign])
    unreadable = f"wallet-{uuid4()}"
    kurrentdb.append_stored(unreadable, [StoredEvent(type="WalletCredited", data=b"{}")])
    after = wallet_events(["5"])
    kurrentdb.append(after)

    with capture_logs() as logs:
        async with projecting() as projector:
            await all_written(elasticsearch, kurrentdb, projections)

    wallets, statement, _ = await everything(elasticsearch, projections)
    assert {id_: version for id_, (version, _) in wallets.items()} == {events[0].wallet_id: 1, after[0].wallet_id: 1}
    assert set(statement) == {events[0].event_id, after[0].event_id}
    told = {(line["stream"], line["revision"]) for line in logs if line["event"] == "projection_skips_foreign_event"}
    assert told == {(stream, 1), (stream, 2), (stream, 3), (unreadable, 0)}
    assert projector._metrics.events_skipped.labels("not_ours")._value.get() == 4


async def test_what_is_no_wallets_event_is_passed_over(elasticsearch, kurrentdb, projections, projecting):
    """Other streams are not read; a type that the contract does not know, in a wallet's stream, is only logged."""
    events = wallet_events(["100"])
    kurrentdb.append_stored("orders-1", [StoredEvent(type="OrderPlaced", data=b"{}")])
    kurrentdb.append(events)
    kurrentdb.append_stored(f"wallet-{events[0].wallet_id}", [StoredEvent(type="NoteTaken", data=b"no JSON")])

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    assert list((await everything(elasticsearch, projections))[0]) == [events[0].wallet_id]

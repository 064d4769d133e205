"""The projection on a real Elasticsearch: what it promises when servers, indices and projectors come and go.

Each test has a KurrentDB and aliases of its own, so that nothing else's events or checkpoints are in the way.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from esdbclient import NewEvent as StoredEvent

from tests.support.projection import StandIn, under_other_aliases, wallet_events
from worker.errors import Fatal, Unavailable
from worker.projection.document import UnreadableEvent
from worker.projection.elastic import connect_elasticsearch
from worker.projection.follow import EventLog
from worker.projection.index import open_index
from worker.projection.progress import caught_up, last_position, read_checkpoint
from worker.projection.projector import ForeignCheckpoint, Projector
from worker.projection.subscription import SubscriptionLost
from worker.telemetry.metrics import ProjectorMetrics, new_registry

PATIENCE_S = 30


@pytest.fixture
async def kurrentdb(tmp_path):
    """A KurrentDB that holds nothing yet."""
    stand_in = StandIn(tmp_path)
    await stand_in.start()
    yield stand_in
    stand_in.kill()


@pytest.fixture
async def elasticsearch(stack):
    """A client of the stack's Elasticsearch."""
    async with connect_elasticsearch(stack.environment()["ELASTICSEARCH_URL"]) as client:
        yield client


@pytest.fixture
async def projections(elasticsearch):
    """The projections under aliases that nobody else has; their indices are deleted afterwards."""
    prefix = f"test-{uuid4().hex[:12]}"
    yield under_other_aliases(prefix)
    names = [*(await elasticsearch.indices.get(index=f"{prefix}-*", expand_wildcards="all")).body]
    if names:
        await elasticsearch.indices.delete(index=names)


@pytest.fixture
def projecting(elasticsearch, kurrentdb, projections):
    """Run a projector inside a block, and stop it properly behind it; gives the projector."""

    @asynccontextmanager
    async def run():
        projector = a_projector(elasticsearch, kurrentdb, projections)
        stop = asyncio.Event()
        running = asyncio.create_task(projector.run(stop))
        yield projector
        stop.set()
        await running

    return run


def a_projector(elasticsearch, kurrentdb, projections):
    """A projector with a registry of its own."""
    return Projector(elasticsearch, kurrentdb.uri, ProjectorMetrics(new_registry()), projections)


async def all_written(elasticsearch, kurrentdb, projections):
    """Wait until everything is in the indices, and make it visible to searches."""
    assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=PATIENCE_S, projections=projections)
    await elasticsearch.indices.refresh(index=[projection.alias for projection in projections])


async def documents(elasticsearch, projection):
    """Every document that a search through the alias shows, by id, with its external version."""
    answer = await elasticsearch.search(index=projection.alias, size=10_000, version=True)
    return {hit["_id"]: (hit["_version"], hit["_source"]) for hit in answer["hits"]["hits"]}


async def everything(elasticsearch, projections):
    """The documents of all aliases."""
    return [await documents(elasticsearch, projection) for projection in projections]


async def until(condition):
    """Wait until `await condition()` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def is_waiting(projector):
    """Whether the projector says that it cannot go on now."""
    try:
        await projector.check()
    except Unavailable:
        return True
    return False


async def is_following(projector):
    """Whether the projector says that all is well."""
    return not await is_waiting(projector)


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


async def test_following_everything_again_changes_nothing(elasticsearch, kurrentdb, projections, projecting):
    """External versions: what was written is refused the second time, and the refusal is success."""
    kurrentdb.append(wallet_events(["100", "1", "2"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    before = await everything(elasticsearch, projections)
    for projection in projections:
        index = await open_index(elasticsearch, projection)
        await elasticsearch.delete(index=projection.alias, id=index.checkpoint_id)

    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)

    assert await everything(elasticsearch, projections) == before
    assert projector._metrics.events._value.get() == 3


async def test_a_stopped_projector_goes_on_where_it_stopped(elasticsearch, kurrentdb, projections, projecting):
    """A proper stop writes the checkpoint of its last batch; the next start reads only what is new."""
    kurrentdb.append(wallet_events(["100", "1", "2"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    kurrentdb.append(wallet_events(["7"]))

    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)

    assert projector._metrics.events._value.get() == 1
    assert await read_checkpoint(elasticsearch, projections) == await last_position(kurrentdb.uri)


async def test_projectors_that_die_at_random_and_run_twice_end_with_the_same_documents(
    elasticsearch, kurrentdb, projections, projecting
):
    """Nothing depends on who wrote last, or on what died between a bulk and its checkpoint."""
    appending = asyncio.create_task(asyncio.to_thread(append_slowly, kurrentdb))

    for _ in range(12):
        pair = [
            asyncio.create_task(a_projector(elasticsearch, kurrentdb, projections).run(asyncio.Event())) for _ in "ab"
        ]
        await asyncio.wait(pair, timeout=random.uniform(0.05, 0.4))
        for projector in pair:
            projector.cancel()
        await asyncio.gather(*pair, return_exceptions=True)
    wallet_ids = await appending
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    wallets, statement, _ = await everything(elasticsearch, projections)
    assert {wallet_id: document["balance"] for wallet_id, (_, document) in wallets.items()} == dict.fromkeys(
        wallet_ids, "40.0000"
    )
    assert len(statement) == 31 * len(wallet_ids)


def append_slowly(kurrentdb):
    """Forty wallets, each opened with 10 and credited thirty times in pieces; returns their ids."""
    amounts = ["10", *["1"] * 30]
    wallets = [wallet_events(amounts) for _ in range(40)]
    for start in range(0, len(amounts), 8):
        for events in wallets:
            kurrentdb.append(events[start : start + 8])
    return [events[0].wallet_id for events in wallets]


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_deleted_index_is_made_anew_from_the_start(elasticsearch, kurrentdb, projections, projecting, lost):
    """Under a running projector and without a restart; the other index takes its documents a second time."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
        before = await everything(elasticsearch, projections)
        await elasticsearch.indices.delete(index=f"{projections[lost].alias}-000001")

        kurrentdb.append(wallet_events(["5"]))
        await all_written(elasticsearch, kurrentdb, projections)

    after = await everything(elasticsearch, projections)
    assert [before_one.items() <= after_one.items() for before_one, after_one in zip(before, after, strict=True)] == [
        *(True, True, True),
    ]
    assert [len(one) for one in after] == [2, 3, 0]


async def test_a_projector_notices_that_another_one_made_the_index_anew(
    elasticsearch, kurrentdb, projections, projecting
):
    """Its own position says nothing about the new index: it begins at the checkpoint that it finds there."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
        await elasticsearch.indices.delete(index=f"{projections[0].alias}-000001")
        await open_index(elasticsearch, projections[0])

        kurrentdb.append(wallet_events(["5"]))
        await all_written(elasticsearch, kurrentdb, projections)

    assert len(await documents(elasticsearch, projections[0])) == 2


@pytest.mark.parametrize("block", ["index.blocks.write", "index.blocks.read_only_allow_delete"])
async def test_a_blocked_index_is_waited_for(elasticsearch, kurrentdb, projections, projecting, block):
    """A full disk or an operator's block: nothing is left out, `/readyz` says so, and it goes on by itself."""
    name = f"{projections[1].alias}-000001"
    async with projecting() as projector:
        await until(lambda: is_following(projector))
        await elasticsearch.indices.put_settings(index=name, settings={block: True})
        kurrentdb.append(wallet_events(["100", "1"]))
        await until(lambda: is_waiting(projector))
        held_up = await read_checkpoint(elasticsearch, projections)
        await until(lambda: lags(projector))

        await elasticsearch.indices.put_settings(index=name, settings={block: None})
        await all_written(elasticsearch, kurrentdb, projections)
        await until(lambda: is_following(projector))
        await until(lambda: has_no_lag(projector))

    assert held_up is None
    assert [len(one) for one in await everything(elasticsearch, projections)] == [1, 2, 0]


async def lags(projector):
    """Whether the projector's lag is more than nothing."""
    return projector._lag.seconds() > 0


async def test_a_kurrentdb_that_dies_and_comes_back_is_followed_on(elasticsearch, kurrentdb, projections, projecting):
    """Lost: `/readyz` says so. Back: from the checkpoint on, by itself."""
    kurrentdb.append(wallet_events(["100"]))
    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)
        kurrentdb.kill()
        await until(lambda: is_waiting(projector))

        await kurrentdb.start()
        kurrentdb.append(wallet_events(["7"]))
        await all_written(elasticsearch, kurrentdb, projections)
        await until(lambda: is_following(projector))

    assert len(await documents(elasticsearch, projections[0])) == 2


async def test_a_connection_that_falls_silent_is_given_up(kurrentdb):
    """A half-open connection says nothing for ever: after a while without events the server is asked."""
    kurrentdb.append(wallet_events(["100"]))

    async with EventLog.connect(kurrentdb.uri) as events, events.subscribe(None) as subscription:
        assert len(await subscription.take_batch()) == 1
        kurrentdb.pause()

        with pytest.raises(SubscriptionLost, match="DEADLINE_EXCEEDED"):
            await subscription.take_batch(silence_s=0.1)


async def test_a_quiet_server_is_no_lost_one(kurrentdb):
    """Where nothing happens nothing comes: asked, the server has no more either, and the subscription stays."""
    kurrentdb.append(wallet_events(["100"]))

    async with EventLog.connect(kurrentdb.uri) as events, events.subscribe(None) as subscription:
        await subscription.take_batch()
        quiet = asyncio.create_task(subscription.take_batch(silence_s=0.05))
        await asyncio.wait({quiet}, timeout=0.5)
        assert not quiet.done()
        kurrentdb.append(wallet_events(["7"]))

        assert len(await quiet) == 1


@pytest.mark.parametrize("others", [0, 200])
async def test_indices_made_from_another_kurrentdb_are_refused(
    elasticsearch, kurrentdb, projections, projecting, tmp_path, others
):
    """Its position would be beyond the end, and nothing would ever come; or among other events, and some be missing."""
    kurrentdb.append(wallet_events(["100", "1"]))
    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    (tmp_path / "another").mkdir()
    another = StandIn(tmp_path / "another")
    await another.start()
    for _ in range(others // 20):
        another.append(wallet_events(["1"] * 20))

    try:
        with pytest.raises(
            ForeignCheckpoint, match=f"index {projections[0].alias}-000001 was made from another KurrentDB"
        ):
            await a_projector(elasticsearch, another, projections).run(asyncio.Event())
    finally:
        another.kill()


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


async def test_a_kurrentdb_uri_that_makes_no_sense_is_named():
    """What the settings can't know, and waiting would not mend, ends the process with the variable's name."""
    with pytest.raises(Fatal, match=r"KURRENTDB_URI: .*nonsense"):
        async with EventLog.connect("esdb://localhost:2113?Tls=nonsense"):
            pass


async def test_what_is_no_wallets_event_is_passed_over(elasticsearch, kurrentdb, projections, projecting):
    """Other streams are not read; a type that the contract does not know, in a wallet's stream, is only logged."""
    events = wallet_events(["100"])
    kurrentdb.append_stored("orders-1", [StoredEvent(type="OrderPlaced", data=b"{}")])
    kurrentdb.append(events)
    kurrentdb.append_stored(f"wallet-{events[0].wallet_id}", [StoredEvent(type="NoteTaken", data=b"no JSON")])

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    assert list((await everything(elasticsearch, projections))[0]) == [events[0].wallet_id]


async def test_without_any_event_everything_is_caught_up(elasticsearch, kurrentdb, projections, projecting):
    """An empty KurrentDB: followed, no lag, nothing to wait for."""
    async with projecting() as projector:
        await until(lambda: is_following(projector))

        assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=1, projections=projections)
        await until(lambda: has_no_lag(projector))

    assert await read_checkpoint(elasticsearch, projections) is None


async def has_no_lag(projector):
    """Whether nothing is missing."""
    return projector._lag.seconds() == 0


async def test_the_process_says_that_it_is_ready_and_stops_on_sigterm(elasticsearch, kurrentdb, stack, tmp_path):
    """`wallex projector` under the contract's own aliases: ready once it follows, exit code 0 on SIGTERM."""
    for name in ("wallets", "wallet-ledger", "wallet-holds"):
        await delete_behind(elasticsearch, name)
    events = wallet_events(["100"])
    kurrentdb.append(events)
    environment = {**stack.environment(), "KURRENTDB_URI": kurrentdb.uri, "HTTP_PORT": "0", "LOG_LEVEL": "INFO"}
    with (tmp_path / "projector.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("wallex"), "projector", env=environment, stderr=log
        )

    try:
        assert await caught_up(elasticsearch, kurrentdb.uri, timeout_s=PATIENCE_S)
        async with aiohttp.ClientSession() as http, http.get(f"{health_url(tmp_path)}/readyz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        assert (await elasticsearch.get(index="wallets", id=events[0].wallet_id))["_version"] == 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for name in ("wallets", "wallet-ledger", "wallet-holds"):
            await delete_behind(elasticsearch, name)


async def delete_behind(elasticsearch, alias):
    """Delete the indices behind `alias`, so that whoever comes next makes them anew."""
    found = await elasticsearch.indices.get(index=alias, ignore_unavailable=True, allow_no_indices=True)
    if found.body:
        await elasticsearch.indices.delete(index=[*found.body])


def health_url(folder):
    """Where the process logged that it serves its health."""
    lines = [json.loads(line) for line in (folder / "projector.log").read_text().splitlines()]
    return next(f"http://127.0.0.1:{line['port']}" for line in lines if line["event"] == "health_listening")

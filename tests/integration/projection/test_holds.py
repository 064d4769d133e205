"""`wallet-holds` on a real Elasticsearch: each hold as it is now, found as a back office asks for it."""

from __future__ import annotations

from tests.support.commands import capture_hold, create_wallet, credit, new_id, place_hold, release_hold
from tests.support.memory_ledger import MemoryLedger
from tests.support.projecting import all_written, documents, everything
from tests.support.projection import decided, wallet_events
from worker.projection.index import find_index

SOON, LATER = "2026-11-22T13:00:00Z", "2026-11-23T13:00:00Z"
LAST_MOMENT = "9999-12-31T23:59:59.999999Z"


async def test_a_hold_is_one_document_as_it_is_now(elasticsearch, kurrentdb, projections, projecting):
    """Its version is that of its wallet at its last event, plus one; what changes no hold leaves it alone."""
    wallet, captured, released, active = (new_id() for _ in range(4))
    placed = [place_hold(wallet, hold, "10", reference="order 7") for hold in (captured, released, active)]
    ended = [capture_hold(wallet, captured, amount="2.5"), release_hold(wallet, released)]
    kurrentdb.append(decided(MemoryLedger(), create_wallet(wallet), *placed, *ended, credit(wallet)))

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    found = {
        hold_id: (version, hold["version"], hold["status"], hold["amount"], hold["capturedAmountMinor"])
        for hold_id, (version, hold) in (await documents(elasticsearch, projections[2])).items()
    }
    assert found == {
        captured: (5, 4, "CAPTURED", "10.0000", 25000),
        released: (6, 5, "RELEASED", "10.0000", 0),
        active: (4, 3, "ACTIVE", "10.0000", 0),
    }


async def test_due_holds_are_found_by_status_time_and_wallet(elasticsearch, kurrentdb, projections, projecting):
    """Whatever year a sender chose to let a hold expire in: none stops the projector."""
    ledger, wallet, other = MemoryLedger(), new_id(), new_id()
    due, later, never, ended = (new_id() for _ in range(4))
    kurrentdb.append(
        decided(
            ledger,
            create_wallet(wallet),
            place_hold(wallet, due, expiresAt=SOON, metadata={"shop": {"till": 3}}),
            place_hold(wallet, later, expiresAt=LATER),
            place_hold(wallet, never),
            place_hold(wallet, ended, expiresAt=SOON),
            release_hold(wallet, ended),
        )
    )
    kurrentdb.append(decided(ledger, create_wallet(other), place_hold(other, new_id(), expiresAt=LAST_MOMENT)))

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)

    async def search(*terms):
        answer = await elasticsearch.search(index=projections[2].alias, query={"bool": {"filter": terms}})
        return {hit["_id"] for hit in answer["hits"]["hits"]}

    active, before_noon = {"term": {"status": "ACTIVE"}}, {"range": {"expiresAt": {"lte": "2026-11-23T12:00:00Z"}}}
    assert await search(active, before_noon) == {due}
    assert await search({"term": {"walletId": wallet}}, active) == {due, later, never}
    assert await search({"term": {"metadata.shop.till": "3"}}) == {due}
    assert len(await search({"range": {"expiresAt": {"gte": "2300-01-01T00:00:00Z"}}})) == 1


async def test_an_installation_that_lacks_the_alias_gets_it_from_the_start(
    elasticsearch, kurrentdb, projections, projecting
):
    """The projector follows from the lowest checkpoint, and a new index has none: the others only refuse repeats."""
    wallet, hold = new_id(), new_id()
    kurrentdb.append(decided(MemoryLedger(), create_wallet(wallet), place_hold(wallet, hold)))
    async with projecting(projections[:2]):
        await all_written(elasticsearch, kurrentdb, projections[:2])
    before = await everything(elasticsearch, projections[:2])
    checkpoints = [(await find_index(elasticsearch, one)).checkpoint for one in projections[:2]]

    async with projecting():
        await all_written(elasticsearch, kurrentdb, projections)
    kurrentdb.append(wallet_events(["1"]))
    async with projecting() as projector:
        await all_written(elasticsearch, kurrentdb, projections)

    assert list(await documents(elasticsearch, projections[2])) == [hold]
    after = await everything(elasticsearch, projections[:2])
    assert [old.items() <= new.items() for old, new in zip(before, after, strict=True)] == [True, True]
    assert projector._metrics.events._value.get() == 1
    for projection, checkpoint in zip(projections[:2], checkpoints, strict=True):
        assert (await find_index(elasticsearch, projection)).checkpoint > checkpoint

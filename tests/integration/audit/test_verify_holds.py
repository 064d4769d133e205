"""Holds held against the ledger: each way in which an entry, a row or a document of one can be wrong is found."""

from __future__ import annotations

import pytest

from tests.support.audited import AT_ONCE_S
from tests.support.commands import capture_hold, create_wallet, credit, new_id, place_hold, release_hold
from worker.audit import documents, parts
from worker.audit.report import Difference, Kind, Store
from worker.audit.verify import verify

COPY_HOLD = """
INSERT INTO holds (id, wallet_id, amount, status, created_at, updated_at)
SELECT $2::uuid, wallet_id, amount, $3, created_at, updated_at FROM holds WHERE id = $1::uuid
"""


async def _wallet_with_holds(world):
    """A wallet at version 4 with an active hold (placed at version 1) and a captured one (2, ended at 3)."""
    wallet, active, captured = new_id(), new_id(), new_id()
    await world.run(
        create_wallet(wallet),
        place_hold(wallet, active, "5", reference="r", metadata={"b": 1, "a": 1.5}, expiresAt="2999-01-01T00:00:00Z"),
        place_hold(wallet, captured, "8"),
        capture_hold(wallet, captured, amount="3"),
        credit(wallet),
    )
    return wallet, active, captured


async def test_holds_that_agree_show_no_difference_and_their_documents_are_counted(fresh):
    """Two wallet documents would be one too many: each hold has one of its own."""
    await _wallet_with_holds(fresh)

    report = await verify(fresh.stores)

    assert report.is_clean, report.differences
    assert report.documents == 1 + 5 + 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("captured_amount", "1"),
        ("status", "'EXPIRED'"),
        ("type", "'ESCROW'"),
        ("reference", "'other'"),
        ("metadata", '\'{"a":1.5,"b":1}\''),
        ("expires_at", "expires_at + interval '1 microsecond'"),
        ("released_at", "now()"),
        ("captured_at", "now()"),
        ("created_at", "created_at - interval '1 microsecond'"),
        ("updated_at", "updated_at + interval '1 microsecond'"),
    ],
)
async def test_an_active_hold_whose_row_differs_is_found(world, column, value):
    """Every column that an entry speaks of is compared, to the microsecond and the byte."""
    wallet, active, _ = await _wallet_with_holds(world)
    await world.execute(f"UPDATE holds SET {column} = {value} WHERE id = $1::uuid", active)

    found = await world.differences(wallet)

    whats = {one.what for one in found if one.kind is Kind.CONTRADICTS and one.store is Store.POSTGRES}
    assert whats - {"sum of active holds"} == {f"holds row {active} {column}"}


@pytest.mark.parametrize(
    ("column", "value"), [("status", "'RELEASED'"), ("captured_amount", "2"), ("captured_at", "NULL")]
)
async def test_an_ended_hold_whose_row_differs_is_found(world, column, value):
    """An ended hold is compared with what its last entry made of it."""
    wallet, _, captured = await _wallet_with_holds(world)
    await world.execute(f"UPDATE holds SET {column} = {value} WHERE id = $1::uuid", captured)

    assert [one.what for one in await world.differences(wallet)] == [f"holds row {captured} {column}"]


async def test_a_hold_that_reserves_another_amount_is_found_with_the_sum_over_its_wallet(world):
    """What a wallet holds back is what its active holds reserve."""
    wallet, active, _ = await _wallet_with_holds(world)
    await world.execute("UPDATE holds SET amount = 6 WHERE id = $1::uuid", active)

    assert await world.differences(wallet) == [
        Difference(wallet, Store.POSTGRES, "sum of active holds", "5.0000", "6.0000"),
        Difference(wallet, Store.POSTGRES, f"holds row {active} amount", "5.0000", "6.0000"),
    ]


async def test_a_hold_that_never_ended_in_its_row_is_found(world):
    """The ledger ended it, its row still reserves."""
    wallet, _, captured = await _wallet_with_holds(world)
    await world.execute("UPDATE holds SET status = 'ACTIVE' WHERE id = $1::uuid", captured)

    whats = [one.what for one in await world.differences(wallet)]

    assert whats == ["sum of active holds", f"holds row {captured} status"]


@pytest.mark.parametrize("which", ["active", "captured"])
async def test_a_hold_whose_row_is_gone_is_found(world, which):
    """Each hold of the ledger has its row."""
    wallet, active, captured = await _wallet_with_holds(world)
    hold, status = (active, "ACTIVE") if which == "active" else (captured, "CAPTURED")
    await world.execute("DELETE FROM holds WHERE id = $1::uuid", hold)

    found = await world.differences(wallet)

    assert Difference(wallet, Store.POSTGRES, f"holds row {hold}", status, "none") in found


@pytest.mark.parametrize("status", ["ACTIVE", "RELEASED"])
async def test_a_hold_that_no_entry_placed_is_found(world, status):
    """A row too many is found, whether it reserves or has ended."""
    wallet, active, _ = await _wallet_with_holds(world)
    stray = new_id()
    await world.execute(COPY_HOLD, active, stray, status)

    found = await world.differences(wallet)

    assert found[0] == Difference(wallet, Store.POSTGRES, f"holds row {stray}", "none", status)
    assert [one.what for one in found[1:]] == ["sum of active holds"] * (status == "ACTIVE")


async def test_a_hold_in_another_wallet_is_found(world):
    """Whose money a hold reserves is compared like everything else; to the other wallet it is one too many."""
    wallet, active, _ = await _wallet_with_holds(world)
    other, _, _ = await _wallet_with_holds(world)
    await world.execute("UPDATE holds SET wallet_id = $1::uuid WHERE id = $2::uuid", other, active)

    found = await world.differences(wallet, other)

    assert Difference(wallet, Store.POSTGRES, f"holds row {active} wallet_id", wallet, other) in found
    assert [one.what for one in found if one.wallet_id == other] == [f"holds row {active}", "sum of active holds"]


@pytest.mark.parametrize(
    ("version", "old", "new", "what"),
    [
        (1, '"status":"ACTIVE"', '"status":"EXPIRED"', "hold status"),
        (3, '"capturedAmount":"3.0000"', '"capturedAmount":"2.0000"', "hold captured_amount"),
        (3, '"type":"PAYMENT"', '"type":"OTHER"', "hold type"),
    ],
)
async def test_an_entry_that_says_otherwise_of_its_hold_is_found_where_it_stands(world, version, old, new, what):
    """What an entry says of its hold is what it makes of the hold before it."""
    wallet, _, _ = await _wallet_with_holds(world)
    change = "UPDATE ledger SET hold = replace(hold, $3, $4) WHERE wallet_id = $1::uuid AND version = $2"
    await world.execute(change, wallet, version, old, new)

    found = await world.differences(wallet)

    assert f"ledger {version} {what}" in {one.what for one in found}


async def test_a_hold_that_is_placed_twice_or_ends_twice_is_found(world):
    """An entry that ends a hold begins with an active one, and one that places it with none."""
    wallet, _, captured = await _wallet_with_holds(world)
    change = "UPDATE ledger SET hold = replace(hold, $3, $4) WHERE wallet_id = $1::uuid AND version = $2"
    await world.execute(change, wallet, 2, captured, new_id())

    found = await world.differences(wallet)

    assert f"ledger 3 hold {captured} before it" in {one.what for one in found}


@pytest.mark.parametrize(("which", "version"), [("active", 1), ("captured", 3)])
async def test_a_holds_document_that_is_gone_is_found(world, which, version):
    """Each hold has its document."""
    wallet, active, captured = await _wallet_with_holds(world)
    hold = active if which == "active" else captured
    await world.stores.search.delete(index=world.stores.holds.alias, id=hold)

    what = f"wallet-holds document {hold}"
    assert await world.differences(wallet) == [
        Difference(wallet, Store.ELASTICSEARCH, what, f"version {version}", "none", Kind.LAGS)
    ]


async def test_a_holds_document_that_was_altered_is_found(world):
    """Every field is compared."""
    wallet, active, _ = await _wallet_with_holds(world)
    await world.change_document(world.stores.holds, active, 2, amountMinor=1)

    assert await world.differences(wallet) == [
        Difference(wallet, Store.ELASTICSEARCH, f"wallet-holds document {active} amountMinor", "50000", "1")
    ]


async def test_a_holds_document_that_stays_behind_is_found(world):
    """It still shows the hold as active, as it was before its end."""
    wallet, active, _ = await _wallet_with_holds(world)
    events = await world.run_in_postgres(release_hold(wallet, active))
    await world.append(events)

    found = await world.differences(wallet)

    what = f"wallet-holds document {active}"
    assert Difference(wallet, Store.ELASTICSEARCH, what, "version 5", "version 1", Kind.LAGS) in found
    assert {one.kind for one in found} == {Kind.LAGS}


async def test_a_holds_document_under_a_higher_version_is_found(world):
    """Elasticsearch would refuse the document of the hold's end for an older one."""
    wallet, active, _ = await _wallet_with_holds(world)
    await world.change_document(world.stores.holds, active, 9)

    assert await world.differences(wallet) == [
        Difference(wallet, Store.ELASTICSEARCH, f"wallet-holds document {active} _version", "2", "9")
    ]


async def test_a_holds_document_of_an_event_that_is_not_there_is_found(world):
    """A hold that the ledger does not know, and one that claims to be made from an event yet to come."""
    wallet, active, _ = await _wallet_with_holds(world)
    stray = new_id()
    source = (await world.stores.search.get(index=world.stores.holds.alias, id=active))["_source"]
    await world.stores.search.index(
        index=world.stores.holds.alias, id=stray, document=source, version=2, version_type="external"
    )
    await world.change_document(world.stores.holds, active, 10, version=9)

    found = await world.differences(wallet)

    assert sorted((one.what, one.expected, one.found) for one in found) == sorted(
        [
            (f"wallet-holds document {stray}", "none", "version 1"),
            (f"wallet-holds document {active}", "none", "version 9"),
        ]
    )


async def test_holds_are_followed_across_the_pages(world, monkeypatch):
    """What a page placed and a later one ends, or none does, is compared where it belongs."""
    wallet, ended, active = new_id(), [new_id() for _ in range(6)], [new_id() for _ in range(3)]
    await world.run(create_wallet(wallet), *[place_hold(wallet, hold) for hold in (*ended, *active)])
    await world.run(*[release_hold(wallet, hold) for hold in ended])
    monkeypatch.setattr(parts, "PAGE_ENTRIES", 4)
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 3)
    assert await world.differences(wallet) == []

    await world.execute("UPDATE holds SET reference = 'x' WHERE id = ANY($1::uuid[])", [ended[0], active[0]])
    await world.stores.search.delete(index=world.stores.holds.alias, id=ended[1])
    await world.stores.search.delete(index=world.stores.holds.alias, id=active[1])

    assert {one.what for one in await world.differences(wallet)} == {
        f"holds row {ended[0]} reference",
        f"holds row {active[0]} reference",
        f"wallet-holds document {ended[1]}",
        f"wallet-holds document {active[1]}",
    }


async def test_an_entry_whose_hold_nobody_can_read_does_not_stop_the_comparison(fresh):
    """It is said to be no entry; its row and its document stand without one."""
    wallet, active, _ = await _wallet_with_holds(fresh)
    await fresh.execute("UPDATE ledger SET hold = '[1]' WHERE version = 1")

    found = (await verify(fresh.stores, settle_s=AT_ONCE_S)).differences

    whats = {one.what for one in found}
    assert {"ledger 1 is an entry", f"holds row {active}", f"wallet-holds document {active}"} <= whats
    assert {one.wallet_id for one in found} == {wallet}

"""The ledger held against itself, the rows of wallets and commands: each way in which they can be wrong is found."""

from __future__ import annotations

from tests.support.audited import AT_ONCE_S
from worker.audit.report import Difference, Store
from worker.audit.verify import verify


async def test_a_row_with_another_balance_is_found_with_the_sum_over_all(fresh):
    """The row is held against the fold of its ledger; money out of nothing shows in the sum as well."""
    source, _, _ = await fresh.two_wallets()
    await fresh.execute("UPDATE wallets SET balance = balance + 1 WHERE id = $1::uuid", source)

    found = (await verify(fresh.stores, settle_s=AT_ONCE_S)).differences

    assert found == (
        Difference(None, Store.POSTGRES, "sum of all USD balances (credits less debits)", "95.0000", "96.0000"),
        Difference(source, Store.POSTGRES, "wallets row balance", "75.0000", "76.0000"),
    )


async def test_a_row_with_another_version_is_found(world):
    """The row's version is that of the last entry; the documents follow the ledger, not the row."""
    source, _, _ = await world.two_wallets()
    await world.execute("UPDATE wallets SET version = 7 WHERE id = $1::uuid", source)

    assert await world.differences(source) == [Difference(source, Store.POSTGRES, "wallets row version", "2", "7")]


async def test_a_row_that_is_gone_is_found(world):
    """A ledger without its wallet: of what the other stores have, nothing can be said."""
    source, target, _ = await world.two_wallets()
    await world.execute("DELETE FROM wallets WHERE id = $1::uuid", source)

    found = await world.differences(source, target)

    assert found == [Difference(source, Store.POSTGRES, "wallets row (by the ledger)", "version 2", "none")]


async def test_an_entry_with_another_balance_is_found_where_it_stands(world):
    """The ledger is held against its own fold; the events in KurrentDB and the lines bear witness against it."""
    source, _, events = await world.two_wallets()
    await world.execute("UPDATE ledger SET balance = 106 WHERE wallet_id = $1::uuid AND version = 1", source)

    found = await world.differences(source)

    assert found[0] == Difference(source, Store.POSTGRES, "ledger 1 balance", "105.0000", "106.0000")
    assert Difference(source, Store.KURRENTDB, "revision 1 balance", "106.0000", "105.0000") in found
    line = f"wallet-ledger document {events[source, 1].event_id} balance"
    assert Difference(source, Store.ELASTICSEARCH, line, "106.0000", "105.0000") in found


async def test_an_entry_that_is_gone_is_found(world):
    """Versions run without a gap."""
    source, _, _ = await world.two_wallets()
    await world.execute("DELETE FROM ledger WHERE wallet_id = $1::uuid AND version = 1", source)

    found = await world.differences(source)

    assert Difference(source, Store.POSTGRES, "ledger 2 follows version", "0", "1") in found
    assert any(one.what == "ledger 1" and one.found == "none" for one in found)


async def test_a_command_that_does_not_list_its_event_is_found(world):
    """Recall sends what `commands` lists, so an entry that no command lists would never be sent again."""
    source, _, events = await world.two_wallets()
    command_id = events[source, 1].properties["$causationId"]
    await world.execute(
        "UPDATE commands SET event_wallet_ids = '{}', event_versions = '{}' WHERE command_id = $1::uuid", command_id
    )

    (found,) = await world.differences(source)

    assert found[:4] == (source, Store.POSTGRES, "ledger 1", "listed by its command")
    assert command_id in found.found


async def test_a_command_that_lists_another_event_is_found(world):
    """A version that the ledger does not have, and the one that it has, which nobody lists."""
    source, _, events = await world.two_wallets()
    command_id = events[source, 1].properties["$causationId"]
    await world.execute("UPDATE commands SET event_versions = '{9}' WHERE command_id = $1::uuid", command_id)

    found = await world.differences(source)

    assert Difference(source, Store.POSTGRES, "ledger 9", f"of command {command_id}", "none") in found
    assert [one.what for one in found] == ["ledger 9", "ledger 1"]

"""The comparison of all stores, for each type of event: what is folded, appended and searched is one and the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tests.support import commands as say
from tests.support.commands import new_id
from worker.audit.verify import verify
from worker.contracts.events import EventType

HOLD_LASTS_S = 1.5


async def test_every_type_of_event_agrees_in_all_stores(fresh):
    """Holds, lifecycle and groups are compared like everything else, and the sum over all wallets holds."""
    a, b, captured, released, expired, in_group = (new_id() for _ in range(6))
    end = datetime.now(UTC) + timedelta(seconds=HOLD_LASTS_S)
    events = await fresh.run(
        say.create_wallet(a, metadata={"a": 1}),
        say.create_wallet(b, "0"),
        say.transfer(a, b, "10"),
        say.debit(b),
        say.place_hold(a, captured, "10"),
        say.place_hold(a, released, "5"),
        say.place_hold(a, expired, "1", expiresAt=end.isoformat()),
        say.capture_hold(a, captured, amount="4", toWalletId=b),
        say.suspend_wallet(a, reason="r"),
        say.update_metadata(a, {"a": None}),
        say.atomic(say.release_hold(a, released), say.reactivate_wallet(a), say.credit(a), reference="g"),
        say.atomic(say.place_hold(b, in_group, "13"), say.capture_hold(b, in_group), say.close_wallet(b)),
    )
    while datetime.now(UTC) <= end:  # noqa: ASYNC110 -- time itself is waited for
        await asyncio.sleep(0.05)
    events += await fresh.run(say.expire_hold(a, expired))

    report = await verify(fresh.stores)

    assert {event.type for event in events} == set(EventType)
    assert report.is_clean, report.differences
    assert report.events == len(events)


async def test_an_entry_that_nobody_can_have_written_is_found(fresh):
    """Its type is none, or its hold is no hold: that is said, and the comparison goes on."""
    a, hold_id = new_id(), new_id()
    await fresh.run(say.create_wallet(a), say.credit(a), say.place_hold(a, hold_id))
    await fresh.execute("UPDATE ledger SET event_type = 'WalletBurnt' WHERE version = 1")
    await fresh.execute("UPDATE ledger SET hold = '[]' WHERE version = 2")

    found = (await verify(fresh.stores, settle_s=0.0)).differences

    assert {"ledger 1 is an entry", "ledger 2 is an entry"} <= {difference.what for difference in found}

"""The comparison of all stores, for each type of event: what is folded, appended and searched is one and the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.audited import Audited, audited
from tests.support.commands import (
    atomic,
    capture_hold,
    close_wallet,
    create_wallet,
    credit,
    debit,
    expire_hold,
    new_id,
    place_hold,
    reactivate_wallet,
    release_hold,
    suspend_wallet,
    transfer,
    update_metadata,
)
from worker.audit.verify import verify
from worker.contracts.events import EventType

HOLD_LASTS_S = 1.5


@pytest.fixture
async def world(stack, tmp_path) -> AsyncIterator[Audited]:
    async with audited(stack.environment(), tmp_path) as own:
        yield own


async def test_every_type_of_event_agrees_in_all_stores(world):
    """Holds, lifecycle and groups are compared like everything else, and the sum over all wallets holds."""
    a, b, captured, released, expired, in_group = (new_id() for _ in range(6))
    end = datetime.now(UTC) + timedelta(seconds=HOLD_LASTS_S)
    events = await world.run(
        create_wallet(a, metadata={"a": 1}),
        create_wallet(b, "0"),
        transfer(a, b, "10"),
        debit(b),
        place_hold(a, captured, "10"),
        place_hold(a, released, "5"),
        place_hold(a, expired, "1", expiresAt=end.isoformat()),
        capture_hold(a, captured, amount="4", toWalletId=b),
        suspend_wallet(a, reason="r"),
        update_metadata(a, {"a": None}),
        atomic(release_hold(a, released), reactivate_wallet(a), credit(a), reference="g"),
        atomic(place_hold(b, in_group, "13"), capture_hold(b, in_group), close_wallet(b)),
    )
    while datetime.now(UTC) <= end:  # noqa: ASYNC110 -- time itself is waited for
        await asyncio.sleep(0.05)
    events += await world.run(expire_hold(a, expired))

    report = await verify(world.stores)

    assert {event.type for event in events} == set(EventType)
    assert report.is_clean, report.differences
    assert report.events == len(events)


async def test_an_entry_that_nobody_can_have_written_is_found(world):
    """Its type is none, or its hold is no hold: that is said, and the comparison goes on."""
    a, hold_id = new_id(), new_id()
    await world.run(create_wallet(a), credit(a), place_hold(a, hold_id))
    await world.execute("UPDATE ledger SET event_type = 'WalletBurnt' WHERE version = 1")
    await world.execute("UPDATE ledger SET hold = '[]' WHERE version = 2")

    found = (await verify(world.stores, settle_s=0.0)).differences

    assert {"ledger 1 is an entry", "ledger 2 is an entry"} <= {difference.what for difference in found}

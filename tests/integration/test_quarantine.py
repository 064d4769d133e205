"""A quarantined wallet, on a real Postgres: refused and not remembered, by every process, until it is released."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.test_expire_holds import make_due
from tests.support.commands import atomic, create_wallet, credit, new_id, place_hold, transfer
from tests.support.ledger import balances, codes, recorded, run
from tests.support.received import received
from worker.database import raw_transaction
from worker.ledger.quarantine import count_quarantined, list_quarantined, lock_quarantined, quarantine, release
from worker.scheduler.due_holds import claim_due_holds, read_lag_s

WHY = "its stream holds other events"


@pytest.fixture
async def wallets(engine) -> tuple[str, str]:
    """A quarantined wallet, and a sound one."""
    spoilt, sound = new_id(), new_id()
    await run(engine, create_wallet(spoilt, "10"), create_wallet(sound, "10"))
    await quarantine(engine, {spoilt: WHY})
    return spoilt, sound


async def released(engine, wallet_id: str) -> None:
    async with raw_transaction(engine) as connection:
        assert await lock_quarantined(connection, wallet_id)
        await release(connection, wallet_id)


async def test_a_quarantined_wallet_refuses_commands_and_remembers_none(engine, wallets):
    """The same command may be sent again: while the wallet is quarantined it is refused alike, afterwards it runs."""
    spoilt, sound = wallets
    (since,) = [one.since for one in await list_quarantined(engine) if one.wallet_id == spoilt]
    command = received(credit(spoilt))

    refused = await run(engine, command, received(transfer(sound, spoilt)), command)
    assert codes(refused) == ["WalletQuarantined"] * 3
    assert refused[0].reply == refused[2].reply
    rejection = json.loads(refused[0].reply)["error"]
    assert rejection["details"] == {"walletId": spoilt, "since": since.isoformat(timespec="microseconds")[:-6] + "Z"}
    assert await recorded(engine, command.command.command_id) == []
    assert {id_: version for id_, (_, version) in (await balances(engine)).items() if id_ in wallets} == {
        spoilt: 0,
        sound: 0,
    }

    await released(engine, spoilt)
    assert codes(await run(engine, command, command)) == ["accepted", "accepted"]
    assert (await balances(engine))[spoilt][1] == 1


async def test_a_group_is_refused_at_the_part_that_names_it(engine, wallets):
    """Nothing of it happens."""
    spoilt, sound = wallets
    part = {"type": "CreditWallet", "amount": "1"}

    (refused,) = await run(engine, atomic(part | {"walletId": sound}, part | {"walletId": spoilt}))

    rejection = json.loads(refused.reply)["error"]
    assert (rejection["code"], rejection["details"]["index"]) == ("WalletQuarantined", 1)
    assert (await balances(engine))[sound][1] == 0


async def test_what_ran_before_is_recalled(engine):
    """Its reply is repeated; the append decides whether it may be told."""
    wallet = new_id()
    command = received(credit(wallet))
    before = await run(engine, create_wallet(wallet), command)
    await quarantine(engine, {wallet: WHY})

    (again,) = await run(engine, command)

    assert again.reply == before[1].reply


async def test_what_was_found_first_stays(engine, wallets):
    """What follows from it says less about what went wrong."""
    spoilt, _ = wallets
    (first,) = [one for one in await list_quarantined(engine) if one.wallet_id == spoilt]
    count = await count_quarantined(engine)

    await quarantine(engine, {spoilt: "something else", new_id(): "of a wallet that is not there"})

    assert [one for one in await list_quarantined(engine) if one.wallet_id == spoilt] == [first]
    assert first.reason == WHY
    assert datetime.now(UTC) - first.since < timedelta(minutes=10)
    assert await count_quarantined(engine) == count


async def test_the_holds_of_a_quarantined_wallet_wait(engine):
    """They come once it is released, and do not count as late before."""
    wallet, hold = new_id(), new_id()
    await run(engine, create_wallet(wallet, "10"), place_hold(wallet, hold, expiresAt="2999-12-31T00:00:00Z"))
    await make_due(engine, hold, 10**6)
    await quarantine(engine, {wallet: WHY})

    assert hold not in [one.id for one in await claim_due_holds(engine)]
    assert await read_lag_s(engine) < 10**6
    await released(engine, wallet)
    assert await read_lag_s(engine) >= 10**6
    assert hold in [one.id for one in await claim_due_holds(engine)]

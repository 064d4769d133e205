"""Each command of the contract goes its whole way: over Kafka, into every store, and back as a reply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    record_of,
    release_hold,
    suspend_wallet,
    transfer,
    update_metadata,
)
from tests.support.invariants import check
from tests.support.replies import code, content
from tests.support.world import World


async def run(world: World, *commands):
    """Run `commands` in order in a worker of their own; return their replies and the books."""
    replies = await world.topic(world.reply_topic)
    worker = world.start("a")
    found = await replies.until_answered(await world.send([record_of(command, partition=0) for command in commands]))
    assert await worker.stop() == 0
    return [content(reply) for reply in found], [code(reply) for reply in found], await check(world, replies)


async def test_holds_reserve_pay_and_end(world):
    """A shop authorises, captures a part into its own wallet, releases; the events and rows say so."""
    buyer, shop, first, second = (new_id() for _ in range(4))
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    replies, codes, books = await run(
        world,
        create_wallet(buyer, "100"),
        create_wallet(shop, "0"),
        place_hold(buyer, first, "30", expiresAt=soon, holdType="AUTHORIZATION"),
        debit(buyer, "71"),
        expire_hold(buyer, first),
        capture_hold(buyer, first, amount="31"),
        capture_hold(buyer, first, amount="20", toWalletId=shop),
        release_hold(buyer, first),
        place_hold(buyer, second, "80"),
        place_hold(shop, second, "1"),
        release_hold(buyer, second),
    )

    assert codes == [
        *(None, None, None),
        "InsufficientFunds",
        "HoldNotDue",
        "CaptureExceedsHold",
        None,
        "HoldNotActive",
        None,
        "HoldAlreadyExists",
        None,
    ]
    assert replies[6]["hold"] == {
        "holdId": first,
        "status": "CAPTURED",
        "amount": "30.0000",
        "capturedAmount": "20.0000",
        "expiresAt": replies[2]["hold"]["expiresAt"],
    }
    assert (books.wallets[buyer]["balance"], books.wallets[buyer]["held_balance"]) == (80, 0)
    assert books.wallets[shop]["balance"] == 20
    assert [event.type for event in books.streams[buyer]] == [
        *("WalletCreated", "HoldPlaced", "HoldCaptured", "HoldPlaced", "HoldReleased")
    ]


async def test_a_wallet_is_suspended_reactivated_and_closed(world):
    """A suspended wallet lets no money out, a closed one takes nothing; what was asked twice happens once."""
    wallet, other = new_id(), new_id()

    _, codes, books = await run(
        world,
        create_wallet(wallet, "5"),
        create_wallet(other, "5"),
        update_metadata(wallet, {"plan": "gold", "old": None}),
        suspend_wallet(wallet, reason="review"),
        suspend_wallet(wallet),
        debit(wallet, "1"),
        transfer(other, wallet, "1"),
        close_wallet(wallet),
        reactivate_wallet(wallet),
        debit(wallet, "6"),
        close_wallet(wallet),
        credit(wallet, "1"),
    )

    assert codes == [
        *(None, None, None, None, None),
        *("WalletNotActive", None, "WalletNotEmpty", None, None, None, "WalletNotActive"),
    ]
    assert books.wallets[wallet]["status"] == "CLOSED"
    assert books.wallets[wallet]["metadata"] == '{"plan":"gold"}'
    assert [event.type for event in books.streams[wallet]] == [
        *("WalletCreated", "WalletMetadataUpdated", "WalletSuspended", "WalletCredited"),
        *("WalletReactivated", "WalletDebited", "WalletClosed"),
    ]


async def test_a_group_happens_whole_or_not_at_all(world):
    """Each part sees what the ones before it did; the reply says which part refused."""
    wallet, other, hold = new_id(), new_id(), new_id()

    replies, codes, books = await run(
        world,
        create_wallet(wallet, "100"),
        create_wallet(other, "0"),
        atomic(debit(wallet, "10"), place_hold(wallet, hold, "90")),
        atomic(release_hold(wallet, hold), transfer(wallet, other, "91"), credit(other, "1")),
        atomic(capture_hold(wallet, hold, amount="40", toWalletId=other), transfer(other, wallet, "1")),
    )

    assert codes == [None, None, None, "InsufficientFunds", None]
    assert replies[3]["error"]["details"]["index"] == 1
    assert [part["status"] for part in replies[3]["parts"]] == ["accepted", "rejected", "notRun"]
    assert (books.wallets[wallet]["balance"], books.wallets[other]["balance"]) == (51, 39)
    groups = {str(entry["group_id"]) for entry in books.ledger[wallet] if entry["group_id"] is not None}
    assert groups == {replies[2]["commandId"], replies[4]["commandId"]}

"""The contract's table of commands as short stories: what each command makes happen, or why it is refused.

Each story has wallets of its own and is told in order. `later` steps come once `soon`, the end of some holds, is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.support.commands import (
    Command,
    Headers,
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

FOREVER, LONG_AGO = "2999-12-31T23:59:59Z", "2019-12-31T23:59:59Z"
WHALE = str(10**14)
NOT_FOR_REPLIES = ("reply_to", b"wallet.elsewhere")
SPOILT = new_id()
"""The command that fails in Postgres for no fault of its own: whoever tells these stories sees to it."""


class Step(NamedTuple):
    """A command, and what becomes of it: the events that it makes, in order, or the code of its refusal."""

    command: Command
    events: tuple[str, ...] = ()
    code: str | None = None
    later: bool = False
    headers: Headers = ()


@dataclass(frozen=True)
class Scenario:
    """Steps, and how each wallet ends: status, balance, held balance."""

    steps: list[Step]
    ends: dict[str, tuple[str, str, str]]


def does(command: Command, *events: str, later: bool = False) -> Step:
    """It is accepted, and makes these events."""
    return Step(command, events, None, later)


def refused(command: Command, code: str, *headers: tuple[str, bytes | None], later: bool = False) -> Step:
    """It is refused, and nothing happens."""
    return Step(command, (), code, later, headers)


def a_wallet_is_opened_once(_soon: str) -> Scenario:
    a, b = new_id(), new_id()
    return Scenario(
        [
            does(create_wallet(a, "100", currency="EUR", metadata={"plan": "gold"}), "WalletCreated"),
            does(create_wallet(b, "0"), "WalletCreated"),
            refused(create_wallet(a), "WalletAlreadyExists"),
        ],
        {a: ("ACTIVE", "100", "0"), b: ("ACTIVE", "0", "0")},
    )


def money_comes_in_and_goes_out(_soon: str) -> Scenario:
    a, whale = new_id(), new_id()
    return Scenario(
        [
            refused(credit(a), "WalletNotFound"),
            does(create_wallet(a, "10"), "WalletCreated"),
            does(credit(a, "2.5", currency="USD", expectedVersion=0), "WalletCredited"),
            does(debit(a, "12.4999", notAfter=FOREVER), "WalletDebited"),
            refused(debit(a, "0.0002"), "InsufficientFunds"),
            refused(credit(a, currency="EUR"), "CurrencyMismatch"),
            refused(debit(a, "0.0001", expectedVersion=1), "EventConcurrency"),
            refused(credit(a, notAfter=LONG_AGO), "CommandExpired"),
            does(create_wallet(whale, WHALE), "WalletCreated"),
            *(does(credit(whale, WHALE), "WalletCredited") for _ in range(8)),
            refused(credit(whale, "0.0001"), "BalanceLimitExceeded"),
        ],
        {a: ("ACTIVE", "0.0001", "0"), whale: ("ACTIVE", str(9 * 10**14), "0")},
    )


def money_moves_between_wallets(_soon: str) -> Scenario:
    a, b = new_id(), new_id()
    return Scenario(
        [
            does(create_wallet(a, "10"), "WalletCreated"),
            does(create_wallet(b, "0"), "WalletCreated"),
            does(transfer(a, b, "4"), "WalletDebited", "WalletCredited"),
            refused(transfer(a, a), "SameWallet"),
            refused(transfer(a, new_id()), "WalletNotFound"),
            refused(transfer(a, b, "7"), "InsufficientFunds"),
        ],
        {a: ("ACTIVE", "6", "0"), b: ("ACTIVE", "4", "0")},
    )


def what_cannot_run_leaves_nothing_behind(_soon: str) -> Scenario:
    a = new_id()
    credited = credit(a, "1")
    return Scenario(
        [
            does(create_wallet(a, "10"), "WalletCreated"),
            does(credited, "WalletCredited"),
            refused(credited | {"amount": "2"}, "IdempotencyConflict"),
            refused(credit(a, 1.5), "InvalidAmount"),
            refused(credit(a, unknown="field"), "InvalidCommand"),
            refused(credit(a), "ReplyTopicNotAllowed", NOT_FOR_REPLIES),
            refused(credit(a) | {"commandId": SPOILT}, "InternalError"),
            does(debit(a, "11"), "WalletDebited"),
        ],
        {a: ("ACTIVE", "0", "0")},
    )


def what_comes_before_a_decision_has_its_order_too(_soon: str) -> Scenario:
    a, late = new_id(), {"notAfter": LONG_AGO}
    credited = credit(a, "1")
    return Scenario(
        [
            does(create_wallet(a, "10"), "WalletCreated"),
            does(credited, "WalletCredited"),
            refused(credited | {"unknown": "field"}, "ReplyTopicNotAllowed", NOT_FOR_REPLIES),
            refused(credited | {"unknown": "field", "amount": 1.5}, "InvalidCommand"),
            refused(credited | {"amount": 1.5}, "InvalidAmount"),
            refused(credited | {"amount": "2"} | late, "IdempotencyConflict"),
            does(credited | late, "WalletCredited"),
            refused(transfer(a, a, **late), "CommandExpired"),
        ],
        {a: ("ACTIVE", "11", "0")},
    )


def holds_reserve_and_pay(_soon: str) -> Scenario:
    buyer, shop, first, second, third = (new_id() for _ in range(5))
    return Scenario(
        [
            does(create_wallet(buyer, "100"), "WalletCreated"),
            does(create_wallet(shop, "0"), "WalletCreated"),
            does(place_hold(buyer, first, "30", expiresAt=FOREVER, holdType="AUTHORIZATION"), "HoldPlaced"),
            refused(debit(buyer, "71"), "InsufficientFunds"),
            refused(expire_hold(buyer, first), "HoldNotDue"),
            refused(capture_hold(buyer, first, amount="31"), "CaptureExceedsHold"),
            refused(capture_hold(shop, first), "HoldNotFound"),
            does(capture_hold(buyer, first, amount="20", toWalletId=shop), "HoldCaptured", "WalletCredited"),
            refused(release_hold(buyer, first), "HoldNotActive"),
            does(place_hold(buyer, second, "80"), "HoldPlaced"),
            refused(place_hold(shop, second), "HoldAlreadyExists"),
            does(release_hold(buyer, second), "HoldReleased"),
            does(place_hold(buyer, third, "5", holdType="ESCROW", reference="r", metadata={"order": 1}), "HoldPlaced"),
            does(capture_hold(buyer, third), "HoldCaptured"),
            does(place_hold(buyer, new_id(), "10"), "HoldPlaced"),
        ],
        {buyer: ("ACTIVE", "75", "10"), shop: ("ACTIVE", "20", "0")},
    )


def the_time_of_a_hold_is_over(soon: str) -> Scenario:
    a, expired, released = new_id(), new_id(), new_id()
    return Scenario(
        [
            does(create_wallet(a, "10"), "WalletCreated"),
            refused(place_hold(a, new_id(), expiresAt=LONG_AGO), "HoldExpired"),
            does(place_hold(a, expired, "3", expiresAt=soon), "HoldPlaced"),
            does(place_hold(a, released, "4", expiresAt=soon), "HoldPlaced"),
            refused(capture_hold(a, expired), "HoldExpired", later=True),
            does(expire_hold(a, expired), "HoldExpired", later=True),
            refused(release_hold(a, expired), "HoldExpired", later=True),
            refused(expire_hold(a, expired), "HoldNotActive", later=True),
            does(release_hold(a, released), "HoldReleased", later=True),
        ],
        {a: ("ACTIVE", "10", "0")},
    )


def a_wallet_is_suspended_and_closed(_soon: str) -> Scenario:
    wallet, other = new_id(), new_id()
    return Scenario(
        [
            does(create_wallet(wallet, "5"), "WalletCreated"),
            does(create_wallet(other, "5"), "WalletCreated"),
            does(suspend_wallet(wallet, reason="review"), "WalletSuspended"),
            does(suspend_wallet(wallet)),
            refused(debit(wallet, "1"), "WalletNotActive"),
            does(transfer(other, wallet, "1"), "WalletDebited", "WalletCredited"),
            refused(close_wallet(wallet), "WalletNotEmpty"),
            does(reactivate_wallet(wallet), "WalletReactivated"),
            does(reactivate_wallet(wallet)),
            does(debit(wallet, "6"), "WalletDebited"),
            does(close_wallet(wallet), "WalletClosed"),
            refused(credit(wallet, "1"), "WalletNotActive"),
        ],
        {wallet: ("CLOSED", "0", "0"), other: ("ACTIVE", "4", "0")},
    )


def metadata_is_merged_up_to_its_limit(_soon: str) -> Scenario:
    a = new_id()
    return Scenario(
        [
            does(create_wallet(a, "0", metadata={"old": "x" * 5000}), "WalletCreated"),
            refused(update_metadata(a, {"new": "x" * 5000}), "MetadataTooLarge"),
            does(update_metadata(a, {"old": None, "new": "x" * 5000, "plan": "é"}), "WalletMetadataUpdated"),
        ],
        {a: ("ACTIVE", "0", "0")},
    )


def a_group_happens_whole_or_not_at_all(_soon: str) -> Scenario:
    wallet, other, hold = new_id(), new_id(), new_id()
    return Scenario(
        [
            does(create_wallet(wallet, "100"), "WalletCreated"),
            does(create_wallet(other, "0"), "WalletCreated"),
            does(atomic(debit(wallet, "10"), place_hold(wallet, hold, "90")), "WalletDebited", "HoldPlaced"),
            refused(
                atomic(release_hold(wallet, hold), transfer(wallet, other, "91"), credit(other)), "InsufficientFunds"
            ),
            refused(atomic(debit(wallet), credit(other, 1.5)), "InvalidAmount"),
            does(
                atomic(capture_hold(wallet, hold, amount="40", toWalletId=other), transfer(other, wallet, "1")),
                *("HoldCaptured", "WalletCredited", "WalletDebited", "WalletCredited"),
            ),
            does(atomic(suspend_wallet(other), suspend_wallet(other), reactivate_wallet(wallet)), "WalletSuspended"),
        ],
        {wallet: ("ACTIVE", "51", "0"), other: ("SUSPENDED", "39", "0")},
    )


SCENARIOS: dict[str, Callable[[str], Scenario]] = {
    make.__name__: make
    for make in (
        a_wallet_is_opened_once,
        money_comes_in_and_goes_out,
        money_moves_between_wallets,
        what_cannot_run_leaves_nothing_behind,
        what_comes_before_a_decision_has_its_order_too,
        holds_reserve_and_pay,
        the_time_of_a_hold_is_over,
        a_wallet_is_suspended_and_closed,
        metadata_is_merged_up_to_its_limit,
        a_group_happens_whole_or_not_at_all,
    )
}

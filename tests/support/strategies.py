"""Random commands of every type over a few wallets and holds, most of which pass: for Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.support.commands import Command

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WALLETS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
HOLDS = [f"00000000-0000-4000-a000-00000000000{n}" for n in range(6)]

wallets = st.sampled_from(WALLETS)
# The usual, the smallest and the largest; seldom a currency or a version, since most of those are refused.
amounts = st.sampled_from(["1", "2.5", "40", "0.0001", "1", "2.5", "100000000000000"])
versions = st.sampled_from([*[None] * 30, 0, 1, 2])
currencies = st.sampled_from([*[None] * 6, "USD", "EUR"])
# Whole seconds, as `pauses` are: so that the very instant is met.
moments = st.integers(0, 9).map(lambda seconds: (NOON + timedelta(seconds=seconds)).isoformat())
deadlines = st.sampled_from([0, 3, 1000]).map(lambda seconds: (NOON + timedelta(seconds=seconds)).isoformat())
pauses = st.sampled_from([0, 0, 0, 1, 2]).map(lambda seconds: timedelta(seconds=seconds))


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from("ab"), values, max_size=2)


metadata = st.one_of(
    _objects(st.recursive(st.none() | st.integers(0, 3) | st.sampled_from(["é", [None, 1]]), _objects, max_leaves=4)),
    # Two of these are more than a wallet may have.
    st.sampled_from("ab").map(lambda key: {key: "x" * 5000}),
)


def _part(type_: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    around = {"reference": st.just("r")} | ({} if "metadata" in fields else {"metadata": st.just({"m": 1})})
    return st.fixed_dictionaries({"type": st.just(type_), **fields}, optional=around)


def _between(part: st.SearchStrategy[Command]) -> st.SearchStrategy[Command]:
    """`part` from one wallet to another, seldom the same."""
    pairs = st.one_of(*[st.permutations(WALLETS)] * 5, st.lists(wallets, min_size=2, max_size=2))
    return st.tuples(pairs, part).map(
        lambda drawn: {**drawn[1], "fromWalletId": drawn[0][0], "toWalletId": drawn[0][1]}
    )


def _hold_part(type_: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    part = _part(type_, **_versioned, **fields)
    return st.tuples(_wallets_and_holds, part).map(
        lambda drawn: {**drawn[1], "walletId": drawn[0][0], "holdId": drawn[0][1]}
    )


_versioned = {"expectedVersion": versions}
_of_wallet = {"walletId": wallets, **_versioned}
# Two holds for each wallet, seldom another wallet's.
_own_holds = [(WALLETS[n // 2], hold_id) for n, hold_id in enumerate(HOLDS)]
_wallets_and_holds = st.sampled_from([*_own_holds * 4, (WALLETS[0], HOLDS[-1]), (WALLETS[-1], HOLDS[0])])
_movement = {**_of_wallet, "amount": amounts, "currency": currencies}

create_wallets = _part(
    "CreateWallet",
    walletId=wallets,
    ownerId=st.just("o"),
    currency=st.sampled_from(["USD", None, "EUR"]),
    initialBalance=st.just("0") | st.none() | amounts,
    metadata=metadata,
)
transfers = _between(_part("Transfer", amount=amounts, currency=currencies, **_versioned))
place_holds = _hold_part(
    "PlaceHold",
    amount=amounts,
    holdType=st.sampled_from(["PAYMENT", "ESCROW", None]),
    expiresAt=st.one_of(st.none(), moments, moments),
)
captures = _hold_part("CaptureHold", amount=st.one_of(st.none(), st.none(), amounts))
captures_into = st.tuples(captures, wallets).map(lambda drawn: {**drawn[0], "toWalletId": drawn[1]})
parts = st.one_of(
    create_wallets,
    _part("CreditWallet", **_movement),
    _part("DebitWallet", **_movement),
    transfers,
    *[place_holds] * 4,
    *[captures] * 2,
    *[captures_into] * 2,
    _hold_part("ReleaseHold"),
    _hold_part("ExpireHold"),
    _part("SuspendWallet", **_of_wallet, reason=st.none() | st.just("r")),
    *[_part("ReactivateWallet", **_of_wallet)] * 3,
    _part("CloseWallet", **_of_wallet),
    _part("UpdateMetadata", **_of_wallet, metadata=metadata),
)


_further_parts = st.lists(parts, min_size=1, max_size=4)
_of_group = st.fixed_dictionaries({}, optional={"reference": st.just("g"), "metadata": st.just({"g": 1})})
_seldom = st.sampled_from([True, *[False] * 4])


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """A command, seldom a group or one with a deadline; without its id."""
    command = draw(parts)
    if draw(_seldom):
        command = {"type": "Atomic", "commands": [command, *draw(_further_parts)], **draw(_of_group)}
    if draw(_seldom):
        command["notAfter"] = draw(deadlines)
    return command


def command_id(number: int) -> str:
    """The id of the command with this number."""
    return f"00000000-0000-4000-9000-{number:012}"


def openings(count: int) -> list[Command]:
    """Open `count` wallets with something in them, and a hold in each, whose time is over three seconds after noon."""
    end = (NOON + timedelta(seconds=3)).isoformat()
    opened = [
        {"type": "CreateWallet", "walletId": id_, "ownerId": "o", "initialBalance": "50"} for id_ in WALLETS[:count]
    ]
    placed = [
        {"type": "PlaceHold", "walletId": id_, "holdId": hold_id, "amount": "10", "expiresAt": end}
        for id_, hold_id in zip(WALLETS[:count], HOLDS[::2], strict=False)
    ]
    return [*opened, *placed]


_further = st.lists(commands(), max_size=25)
_counts = st.sampled_from([len(WALLETS), len(WALLETS), 2, 0])


@st.composite
def stories(draw: st.DrawFn) -> list[Command]:
    """Commands in some order, mostly on wallets that are there; some come again, some under another's id."""
    sent = openings(draw(_counts)) + draw(_further)
    ids = list(range(len(sent)))
    for position in draw(st.lists(st.integers(0, 30), max_size=4)):
        if position + 1 < len(ids):
            ids[position + 1] = ids[position // 2]
    story = [{"commandId": command_id(n), **one} for n, one in zip(ids, sent, strict=True)]
    for position in draw(st.lists(st.integers(0, 30), max_size=8)):
        if story:
            story.insert(position, story[position % len(story)])
    return story

"""A random story of commands, such as many upstream services would send it: most sensible, many refused, some broken.

The same seed gives the same story, but for ids and times. What a record that is not run must be answered with is
planned with it; what becomes of the others is for the model to say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.commands import (
    Record,
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
from tests.support.model import Command

DUPLICATES = 0.05
REUSED_IDS = 0.01
UNREADABLE = 0.02
REFUSED_AT_ONCE = 0.02
OTHER_KINDS = 0.16
HOLDS_AND_GROUPS = 0.25
HOT, OPENED = 0.33, 0.01
HOT_WALLETS = 4

HOLDS_END_S = (5.0, 40.0)
"""How long after it was made up: starting workers takes some of it."""
REMEMBERED_MAX = 20_000
"""So many commands, ids and holds a story can come back to: it may go on for a million."""
WHALE_BALANCE = str(10**14)


@dataclass(frozen=True)
class Planned:
    """A record, and the code of the reply to one that is not run (None: the model decides)."""

    record: Record
    code: str | None = None


class Story:
    """`beginning` opens the wallets; `commands` go on from there, and `go_on` without end.

    Contended, a third of all wallets that are named are a few hot ones, and wallets are opened all the time, while
    transfers to them are already under way.
    """

    def __init__(self, seed: int, wallets: int, commands: int, *, contended: bool = False) -> None:
        self._random = random.Random(seed)
        self._hot, self._opened = (HOT, OPENED) if contended else (0.0, 0.0)
        self.wallets = [new_id() for _ in range(wallets)]
        self._used: list[str] = []
        self._holds: list[tuple[str, str]] = []
        self._strangers = [new_id() for _ in range(max(2, wallets // 50))]
        self.beginning = [self._plan(self._opening(place, id_)) for place, id_ in enumerate(self.wallets)]
        self.commands: list[Planned] = []
        self.go_on(commands)

    def go_on(self, count: int) -> list[Planned]:
        """Tell so much more; `commands` keeps what can still be repeated."""
        told = []
        for _ in range(count):
            told.append(self._next())
            self.commands.append(told[-1])
        for remembered in (self.commands, self._used, self._holds):
            if len(remembered) > 2 * REMEMBERED_MAX:
                del remembered[:-REMEMBERED_MAX]
        return told

    def _opening(self, place: int, id_: str) -> Command:
        if place % 50 == 49:
            return create_wallet(id_, WHALE_BALANCE)
        return create_wallet(id_, str(self._random.randint(0, 200)), currency="EUR" if place % 20 == 19 else "USD")

    def _next(self) -> Planned:
        chance = self._random.random()
        for share, make in (
            (DUPLICATES, self._duplicate),
            (REUSED_IDS, self._reused_id),
            (UNREADABLE, self._unreadable),
            (REFUSED_AT_ONCE, self._refused_at_once),
            (OTHER_KINDS, self._other_kind),
            (HOLDS_AND_GROUPS, self._hold_or_group),
            (self._opened, self._open),
        ):
            if chance < share:
                return make()
            chance -= share
        return self._plan(self._ordinary())

    def _ordinary(self) -> Command:
        kind = self._random.random()
        if kind < 0.6:
            return transfer(*self._two(), self._amount())
        return credit(self._wallet(), self._amount()) if kind < 0.8 else debit(self._wallet(), self._amount())

    def _other_kind(self) -> Planned:
        """Commands that are refused for a reason of business, or that depend on what came before."""
        wallet, stranger = self._wallet(), self._random.choice(self._strangers)
        version, whale = self._random.randint(0, 8), self.wallets[49 % len(self.wallets)]
        kinds: Sequence[Callable[[], Command]] = (
            lambda: transfer(wallet, wallet),
            lambda: transfer(wallet, stranger),
            lambda: transfer(stranger, wallet),
            lambda: credit(stranger),
            lambda: create_wallet(stranger, "10"),
            lambda: create_wallet(wallet, "10"),
            lambda: debit(wallet, "10000000"),
            lambda: transfer(*self._two(), "99999999"),
            lambda: credit(wallet, currency="EUR"),
            lambda: credit(wallet, expectedVersion=version),
            lambda: transfer(*self._two(), expectedVersion=version),
            lambda: debit(wallet, notAfter="2019-12-31T23:59:59Z"),
            lambda: credit(wallet, notAfter="2999-12-31T23:59:59+01:00"),
            lambda: credit(whale, WHALE_BALANCE),
        )
        return self._plan(self._random.choice(kinds)())

    def _hold_or_group(self) -> Planned:
        """What reserves money and what becomes of it, a wallet's life, and groups of all these."""
        if self._random.random() < 0.2:
            parts = [self._ordinary(), *(self._part() for _ in range(self._random.randint(1, 3)))]
            return self._plan(atomic(*parts))
        return self._plan(self._part())

    def _part(self) -> Command:
        wallet, other = self._two()
        of_hold = self._random.choice(self._holds) if self._holds else (wallet, new_id())
        kinds: Sequence[Callable[[], Command]] = (
            *[lambda: self._place_hold(wallet)] * 6,
            lambda: capture_hold(*of_hold),
            lambda: capture_hold(*of_hold, amount=self._amount()),
            lambda: capture_hold(*of_hold, toWalletId=other),
            lambda: release_hold(*of_hold),
            *[lambda: expire_hold(*of_hold)] * 2,
            lambda: suspend_wallet(wallet),
            *[lambda: reactivate_wallet(wallet)] * 2,
            lambda: close_wallet(wallet),
            lambda: update_metadata(wallet, {self._random.choice("ab"): self._random.choice((None, 1, "é"))}),
        )
        return self._random.choice(kinds)()

    def _place_hold(self, wallet: str) -> Command:
        """A hold without an end, or with one that comes while the story is told."""
        self._holds.append((wallet, new_id()))
        end = datetime.now(UTC) + timedelta(seconds=self._random.uniform(*HOLDS_END_S))
        fields = {"expiresAt": end.isoformat()} if self._random.random() < 0.7 else {}
        return place_hold(*self._holds[-1], str(self._random.randint(1, 20)), **fields)

    def _duplicate(self) -> Planned:
        """A command that its sender repeats, byte for byte."""
        return self._random.choice(self.commands or self.beginning)

    def _reused_id(self) -> Planned:
        """Another command under an id that was used."""
        return self._plan(self._ordinary() | {"commandId": self._random.choice(self._used)})

    def _unreadable(self) -> Planned:
        """What no command id can be read from."""
        value = self._random.choice((None, b"", b"\xff\x00\xfe", b"[]", b'{"type":"CreditWallet"}', b"x" * 70_000))
        return Planned(Record(self._wallet().encode(), value), "InvalidCommand")

    def _refused_at_once(self) -> Planned:
        """Commands whose id can be read, and that are wrong in themselves."""
        wallet = self._wallet()
        wrong: Sequence[tuple[Command, str]] = (
            (credit(wallet, 1.5), "InvalidAmount"),
            (debit(wallet, "0"), "InvalidAmount"),
            (transfer(wallet, self._wallet(), "1.00001"), "InvalidAmount"),
            (credit(wallet, unknown="field"), "InvalidCommand"),
            (credit(wallet) | {"type": "MintMoney"}, "InvalidCommand"),
            (create_wallet(wallet, expectedVersion=0), "InvalidCommand"),
        )
        command, code = self._random.choice(wrong)
        self._used.append(command["commandId"])
        return Planned(record_of(command), code)

    def _plan(self, command: Command) -> Planned:
        self._used.append(command["commandId"])
        return Planned(record_of(command))

    def _open(self) -> Planned:
        """A wallet that the commands behind this one name at once, under other keys: some run before it is there."""
        self.wallets.append(new_id())
        return self._plan(create_wallet(self.wallets[-1], "50"))

    def _wallet(self) -> str:
        if self._hot and self._random.random() < self._hot:
            return self._random.choice((*self.wallets[:HOT_WALLETS], self.wallets[-1]))
        return self._random.choice(self.wallets)

    def _two(self) -> tuple[str, str]:
        one = other = self._wallet()
        while other == one:
            other = self._wallet()
        return one, other

    def _amount(self) -> Any:
        units = self._random.randint(1, 900_000)
        return self._random.choice((f"{units / 10_000:.4f}", str(units // 10_000 + 1), units // 10_000 + 1))

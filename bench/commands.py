"""The commands of a load: made before the clock starts, from a seeded chance, so that each run of a seed is alike.

All of them are accepted when they run in order, each wallet's under its own id as key: the wallets are opened with more
money than any run spends. Each knows how many events it makes, so that it can be said when Elasticsearch has them all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

BLOCK = 1_000
"""What belongs together, a hold's placing and end or a command and its duplicate, is about so many commands apart:
further than a batch, so that the second finds in Postgres what the first left there."""


class Command(NamedTuple):
    """A command record; `events` is how many events it makes."""

    id: bytes
    key: bytes
    value: bytes
    events: int


def new_ids(count: int, chance: random.Random) -> list[str]:
    """Make `count` random UUIDs."""
    return [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


def openings(wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Open each of `wallets`, with more money in it than any run spends."""
    body = '"type":"CreateWallet","walletId":"%s","ownerId":"bench","initialBalance":"1000000000.0000"'
    ids = new_ids(len(wallets), chance)
    return [_command(id_, wallet, body % wallet, 1) for id_, wallet in zip(ids, wallets, strict=True)]


def transfers(count: int, wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Make `count` transfers, each between two of `wallets` that chance chooses."""
    pairs = [tuple(chance.sample(wallets, 2)) for _ in range(count)]
    return [_transfer(id_, *pair) for id_, pair in zip(new_ids(count, chance), pairs, strict=True)]


def zipf_transfers(count: int, wallets: Sequence[str], chance: random.Random, exponent: float = 1.0) -> list[Command]:
    """Make `count` transfers between wallets of which few are busy and most are not, by Zipf's law."""
    shares = list(accumulate(zipf_weights(len(wallets), exponent)))
    pairs = [_two_different(wallets, shares, chance) for _ in range(count)]
    return [_transfer(id_, *pair) for id_, pair in zip(new_ids(count, chance), pairs, strict=True)]


def zipf_weights(count: int, exponent: float) -> list[float]:
    """The relative frequency of the most frequent of `count` things, of the second, and so on: 1 / rank^exponent."""
    return [rank**-exponent for rank in range(1, count + 1)]


def credits_to(count: int, wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Make `count` credits, to each of `wallets` in turn."""
    body = '"type":"CreditWallet","walletId":"%s","amount":"1.2500"'
    turns = (wallets[number % len(wallets)] for number in range(count))
    return [_command(id_, to, body % to, 1) for id_, to in zip(new_ids(count, chance), turns, strict=True)]


def holds(count: int, wallets: Sequence[str], chance: random.Random) -> list[Command]:
    """Make `count` commands (one less if odd): in turns a block that places holds, and one that ends each of them.

    Every other hold is captured, the others are released.
    """
    made: list[Command] = []
    while len(made) < count - 1:
        placed = list(enumerate(new_ids(min(BLOCK, (count - len(made)) // 2), chance)))
        of = chance.choices(wallets, k=len(placed))
        made += [_hold_command("PlaceHold", wallet, hold, chance) for (_, hold), wallet in zip(placed, of, strict=True)]
        ends = [("CaptureHold", "ReleaseHold")[number % 2] for number, _ in placed]
        made += [
            _hold_command(end, wallet, hold, chance) for end, (_, hold), wallet in zip(ends, placed, of, strict=True)
        ]
    return made


def twice(commands: Sequence[Command]) -> list[Command]:
    """Each of `commands` two times: a block of them, then the same block again."""
    blocks = [commands[begin : begin + BLOCK] for begin in range(0, len(commands), BLOCK)]
    return [command for block in blocks for command in (*block, *block)]


def _two_different(wallets: Sequence[str], shares: Sequence[float], chance: random.Random) -> tuple[str, str]:
    while True:
        first, second = chance.choices(wallets, cum_weights=shares, k=2)
        if first != second:
            return first, second


def _transfer(command_id: str, source: str, target: str) -> Command:
    body = f'"type":"Transfer","fromWalletId":"{source}","toWalletId":"{target}","amount":"1.2500"'
    return _command(command_id, source, body, 2)


def _hold_command(type_: str, wallet: str, hold: str, chance: random.Random) -> Command:
    amount = ',"amount":"1.2500"' if type_ == "PlaceHold" else ""
    body = f'"type":"{type_}","walletId":"{wallet}","holdId":"{hold}"{amount}'
    return _command(new_ids(1, chance)[0], wallet, body, 1)


def _command(command_id: str, wallet: str, body: str, events: int) -> Command:
    return Command(command_id.encode(), wallet.encode(), f'{{"commandId":"{command_id}",{body}}}'.encode(), events)

"""A whole run held against the sequential model, though nobody saw in which order its commands took effect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter

from tests.support.accounts import Account
from tests.support.model import Command, Model, parts_of, time_of, wallets_of
from tests.support.model_reply import Answer, answer, comparable
from tests.support.runs import Run

Seen = dict[str, tuple[int, int]]
"""The versions at which a command found the wallets that it names, and left them; -1: not there."""
Wallet = tuple[int, str, Decimal, Decimal]


def explain(runs: Sequence[Run]) -> Model:
    """Fail unless the sequential model gives each of `runs` that very reply; return where it ends.

    Each command once, in the order of its partition. Between partitions the order is not given, but replies name
    versions: what made version 5 of a wallet came after whatever saw version 4, accepted or not. Any order that
    respects these and the order within each key gives the same replies, since a decision depends on the named wallets
    and on the time that its reply names. That there is no such order is a failure, too. For stories in which no two
    wallets use the same hold id.
    """
    model = Model()
    for place in _order(runs):
        command, reply = json.loads(runs[place].command), json.loads(runs[place].reply)
        model.now = time_of(reply["processedAt"]) or model.now
        expected, got = answer(model, command), comparable(reply)
        assert got == expected, f"{command}\nwas answered {got}\nthe model says {expected}"
    return model


class Outcome:
    """What the wallets and the holds came to in the end, by the stores."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._wallets: dict[str, Wallet] = {}
        self._holds: dict[str, tuple[str, Decimal]] = {}
        for account in accounts:
            self.add(account)

    def add(self, account: Account) -> None:
        """Take in a wallet."""
        row = account.wallet
        self._wallets[account.id] = row["version"], row["status"], row["balance"], row["held_balance"]
        for hold in account.holds:
            self._holds[str(hold["id"])] = hold["status"], hold["captured_amount"]

    def violations(self, model: Model) -> Iterator[str]:
        """What is otherwise than the model has it."""
        wallets = {id_: (one.version, one.status, one.balance, one.held) for id_, one in model.wallets.items()}
        holds = {id_: (hold.status, hold.captured) for id_, hold in model.holds.items()}
        yield from _differences("wallet", self._wallets, wallets)
        yield from _differences("hold", self._holds, holds)


def _differences(what: str, stored: Mapping[str, object], expected: Mapping[str, object]) -> Iterator[str]:
    for id_ in sorted(stored.keys() | expected.keys()):
        if stored.get(id_) != expected.get(id_):
            yield f"the {what} {id_} is {stored.get(id_)}, the model says {expected.get(id_)}"


def _order(runs: Sequence[Run]) -> Sequence[int]:
    """Places in `runs`, in an order that keys and versions allow."""
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(runs)), ()))
    last: dict[bytes, int] = {}
    makers: dict[tuple[str, int], int] = {}
    seen = [_versions(run) for run in runs]
    for place, run in enumerate(runs):
        if run.key is not None:
            if run.key in last:
                sorter.add(place, last[run.key])
            last[run.key] = place
        for wallet_id, (before, after) in seen[place].items():
            for version in range(before + 1, after + 1):
                assert (wallet_id, version) not in makers, f"two commands made version {version} of {wallet_id}"
                makers[wallet_id, version] = place
    for place, run in enumerate(runs):
        for wallet_id, (before, after) in seen[place].items():
            if before >= 0:
                assert (wallet_id, before) in makers, f"{run.command!r} saw version {before}, which nobody made"
                sorter.add(place, makers[wallet_id, before])
            if (wallet_id, after + 1) in makers:
                sorter.add(makers[wallet_id, after + 1], place)
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        circle = [runs[place].command for place in error.args[1]]
        raise AssertionError(f"each of these came before the next one: {circle}") from error


def _versions(run: Run) -> Seen:
    command: Command = json.loads(run.command)
    reply: Answer = json.loads(run.reply)
    found = {id_: (-1, -1) for part in parts_of(command) for id_ in wallets_of(part)}
    states = {wallet["walletId"]: wallet["version"] for wallet in reply["wallets"]}
    return found | {id_: (version - run.made.get(id_, 0), version) for id_, version in states.items()}

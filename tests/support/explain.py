"""A whole run held against the sequential model, though nobody saw in which order its commands took effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from tests.support.model import Command, Model, time_of
from tests.support.model_reply import Answer, answer, comparable


def explain(commands: Iterable[tuple[bytes, Command, Answer]]) -> Model:
    """Fail unless the sequential model gives each of `commands` (key, command, its first reply) that very reply.

    Each command once, in the order of its partition. Between partitions the order is not given, but replies name
    versions: what made version 5 of a wallet came after whatever saw version 4, accepted or not. Any order that
    respects these and the order within each key gives the same replies, since a decision depends on the named wallets
    alone. That there is no such order is a failure, too. For commands each of which makes one event of each wallet that
    it names: no groups, and nothing that is so already.
    """
    runs = list(commands)
    model = Model()
    for place in _order(runs):
        _, command, reply = runs[place]
        model.now = time_of(reply["processedAt"]) or model.now
        expected, got = answer(model, command), comparable(reply)
        assert got == expected, f"{command}\nwas answered {got}\nthe model says {expected}"
    return model


def _order(runs: list[tuple[bytes, Command, Answer]]) -> Iterable[int]:
    """Places in `runs`, in an order that keys and versions allow."""
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(runs)), ()))
    last: dict[bytes, int] = {}
    made: dict[tuple[str, int], int] = {}
    for place, (key, _, reply) in enumerate(runs):
        if key in last:
            sorter.add(place, last[key])
        last[key] = place
        if reply["status"] == "accepted":
            for wallet in reply["wallets"]:
                version = wallet["walletId"], wallet["version"]
                assert version not in made, f"two commands made version {version}"
                made[version] = place
    for place, (_, command, reply) in enumerate(runs):
        for wallet_id, seen in _seen(command, reply).items():
            if seen >= 0:
                assert (wallet_id, seen) in made, f"{command} saw version {seen}, which nobody made"
                sorter.add(place, made[wallet_id, seen])
            after = made.get((wallet_id, seen + 1), place)
            if after != place:
                sorter.add(after, place)
    return sorter.static_order()


def _seen(command: Command, reply: Answer) -> Mapping[str, int]:
    """The versions at which a command found the wallets that it names; -1: not there."""
    found = {command[name]: -1 for name in ("walletId", "fromWalletId", "toWalletId") if name in command}
    made = 1 if reply["status"] == "accepted" else 0
    return found | {wallet["walletId"]: wallet["version"] - made for wallet in reply["wallets"]}

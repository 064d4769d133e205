"""A whole run held against the sequential model, though nobody saw in which order its commands took effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from tests.support.model import Command, Model, parts_of, time_of, wallets_of
from tests.support.model_reply import Answer, answer, comparable

Made = Mapping[str, Mapping[str, int]]
"""How many events of each wallet a command made, by command id."""


def explain(commands: Iterable[tuple[bytes, Command, Answer]], made: Made) -> Model:
    """Fail unless the sequential model gives each of `commands` (key, command, its first reply) that very reply.

    Each command once, in the order of its partition. Between partitions the order is not given, but replies name
    versions: what made version 5 of a wallet came after whatever saw version 4, accepted or not. Any order that
    respects these and the order within each key gives the same replies, since a decision depends on the named wallets
    and on the time that its reply names. That there is no such order is a failure, too. For stories in which no two
    wallets use the same hold id.
    """
    runs = list(commands)
    model = Model()
    for place in _order(runs, made):
        _, command, reply = runs[place]
        model.now = time_of(reply["processedAt"]) or model.now
        expected, got = answer(model, command), comparable(reply)
        assert got == expected, f"{command}\nwas answered {got}\nthe model says {expected}"
    return model


def _order(runs: list[tuple[bytes, Command, Answer]], made: Made) -> Iterable[int]:
    """Places in `runs`, in an order that keys and versions allow."""
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(runs)), ()))
    last: dict[bytes, int] = {}
    makers: dict[tuple[str, int], int] = {}
    for place, (key, command, reply) in enumerate(runs):
        if key in last:
            sorter.add(place, last[key])
        last[key] = place
        for wallet_id, (before, after) in _versions(command, reply, made).items():
            for version in range(before + 1, after + 1):
                assert (wallet_id, version) not in makers, f"two commands made version {version} of {wallet_id}"
                makers[wallet_id, version] = place
    for place, (_, command, reply) in enumerate(runs):
        for wallet_id, (before, after) in _versions(command, reply, made).items():
            if before >= 0:
                assert (wallet_id, before) in makers, f"{command} saw version {before}, which nobody made"
                sorter.add(place, makers[wallet_id, before])
            if (wallet_id, after + 1) in makers:
                sorter.add(makers[wallet_id, after + 1], place)
    return sorter.static_order()


def _versions(command: Command, reply: Answer, made: Made) -> dict[str, tuple[int, int]]:
    """The versions at which a command found the wallets that it names, and left them; -1: not there."""
    events = made.get(command["commandId"], {})
    found = {id_: (-1, -1) for part in parts_of(command) for id_ in wallets_of(part)}
    states = {wallet["walletId"]: wallet["version"] for wallet in reply["wallets"]}
    return found | {id_: (version - events.get(id_, 0), version) for id_, version in states.items()}

"""Commands for a scene: few wallets, every type, repeats and used ids, drawn by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from interleave.postgres import BEGINNING

Command = dict[str, Any]

OPENING = "100"
REPEATS = 0.06
USED_IDS = 0.05
DIRECT = 0.12


@dataclass(frozen=True)
class Record:
    """A record to be sent: on `partition`, under `key`; `direct`: a call to the repository instead."""

    command: Command
    key: str
    partition: int
    attempt: int = 1
    direct: bool = False

    @property
    def value(self) -> bytes:
        """Its bytes."""
        return json.dumps(self.command).encode()


class Ids:
    """Ids that no other scene has, and that sort as they are drawn, whatever `nonce` is."""

    def __init__(self, nonce: int) -> None:
        self._nonce = f"{nonce:016x}"
        self._count = 0

    def next(self) -> str:
        """Another one."""
        self._count += 1
        text = f"{self._nonce[:12]}4{self._nonce[12:15]}8{self._nonce[15]}00{self._count:012x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Story:
    """The records of a scene, in the order in which they are sent, and the names of its wallets and holds."""

    def __init__(
        self, chance: random.Random, ids: Ids, *, wallets: int, partitions: int, commands: int, hot: float
    ) -> None:
        self._chance = chance
        self._hot = hot
        self._ids = ids
        self.wallets = [ids.next() for _ in range(wallets)]
        self._holds = [(wallet, ids.next()) for wallet in self.wallets for _ in range(2)]
        self._partitions = partitions
        opened = self.wallets[: chance.randint(wallets - 2, wallets)]
        made = [self._plan(self._create(wallet)) for wallet in opened]
        while len(made) < wallets + commands:
            made.append(self._next(made))
        self.records = made
        self.names = {id_: f"w{place}" for place, id_ in enumerate(self.wallets)}
        self.names |= {id_: f"h{place}" for place, (_, id_) in enumerate(self._holds)}

    def _next(self, before: Sequence[Record]) -> Record:
        chance = self._chance.random()
        if chance < REPEATS:
            again = self._chance.choice(before)
            # A sender that repeats may choose another key, or another way.
            return self._place(again.command, direct=self._chance.random() < DIRECT)
        command = self._command()
        if chance < REPEATS + USED_IDS:
            command["commandId"] = self._chance.choice(before).command["commandId"]
            attempt = self._chance.choice((1, 2, 2, 3))
            return self._place(command, attempt=attempt)
        return self._place(command, direct=self._chance.random() < DIRECT and command["type"] in DIRECT_TYPES)

    def _plan(self, command: Command) -> Record:
        return self._place(command)

    def _place(self, command: Command, *, direct: bool = False, attempt: int = 1) -> Record:
        first = command.get("commands", [command])[0]
        key = first.get("fromWalletId") or first["walletId"]
        direct = direct and command["type"] in DIRECT_TYPES
        return Record(command, key, self.wallets.index(key) % self._partitions, attempt, direct)

    def _command(self) -> Command:
        kind = self._chance.random()
        if kind < 0.1:
            parts = [self._part() for _ in range(self._chance.randint(2, 4))]
            return {"commandId": self._ids.next(), "type": "Atomic", "commands": parts}
        part = self._part()
        if kind > 0.9 and part["type"] != "CreateWallet":
            part["expectedVersion"] = self._chance.randint(0, 4)
        return {"commandId": self._ids.next(), **part}

    def _part(self) -> Command:
        chance = self._chance
        wallet, other = self._two_wallets()
        kinds: Sequence[tuple[int, Callable[[], Command]]] = (
            (8, lambda: {"type": "Transfer", "fromWalletId": wallet, "toWalletId": other, "amount": self._amount()}),
            (5, lambda: {"type": "CreditWallet", "walletId": wallet, "amount": self._amount()}),
            (4, lambda: {"type": "DebitWallet", "walletId": wallet, "amount": self._amount()}),
            (2, lambda: self._create(wallet, part=True)),
            (4, self._place_hold),
            (3, lambda: self._of_hold("CaptureHold", **({"toWalletId": other} if chance.random() < 0.4 else {}))),
            (1, lambda: self._of_hold("ReleaseHold")),
            (2, lambda: self._of_hold("ExpireHold")),
            (1, lambda: {"type": "SuspendWallet", "walletId": wallet}),
            (1, lambda: {"type": "ReactivateWallet", "walletId": wallet}),
            (1, lambda: {"type": "CloseWallet", "walletId": wallet}),
            (1, lambda: {"type": "UpdateMetadata", "walletId": wallet, "metadata": {"a": chance.randint(1, 3)}}),
        )
        (make,) = chance.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        return make()

    def _two_wallets(self) -> list[str]:
        if self._chance.random() < self._hot:
            first, *others = self.wallets
            two = [first, self._chance.choice(others)]
            self._chance.shuffle(two)
            return two
        return self._chance.sample(self.wallets, 2)

    def _create(self, wallet: str, *, part: bool = False) -> Command:
        id_ = {} if part else {"commandId": self._ids.next()}
        return {**id_, "type": "CreateWallet", "walletId": wallet, "ownerId": "o", "initialBalance": OPENING}

    def _place_hold(self) -> Command:
        wallet, hold = self._chance.choice(self._holds)
        end = BEGINNING + timedelta(seconds=self._chance.choice((0.001, 1, 5, 60)))
        fields = {"expiresAt": end.isoformat()} if self._chance.random() < 0.7 else {}
        return {"type": "PlaceHold", "walletId": wallet, "holdId": hold, "amount": self._amount(), **fields}

    def _of_hold(self, kind: str, **fields: Any) -> Command:
        wallet, hold = self._chance.choice(self._holds)
        given = {name: value for name, value in fields.items() if value != wallet}
        return {"type": kind, "walletId": wallet, "holdId": hold, **given}

    def _amount(self) -> str:
        return str(self._chance.randint(1, 60))


DIRECT_TYPES = frozenset({"CreateWallet", "CreditWallet", "DebitWallet", "Transfer", "PlaceHold"})

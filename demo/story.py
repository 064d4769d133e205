"""The story: the records that upstream services publish, sensible ones and all the others that a real topic gets.

First wallets are opened, then business goes on between them: mostly credits, debits and transfers, and in the middle
of them duplicates, reused ids, every kind of rejection and records that nobody can read. `KINDS` is the cast. Chance
decides, from a seed: the same seed tells the same story again, with the same ids.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from demo.model import Command

COMMANDS_PER_WALLET = 20
WALLETS_MIN = 20
EUR_EVERY = 10
TREASURY_CREDITS = 8
LARGEST_AMOUNT = "100000000000000"
NEARBY = 400
"""A duplicate follows its first one within so many records: often into the same batch, often into a later one."""

FROM_MODEL = "model"
"""What a record expects where the model says what its reply is."""
FIRST_REPLY = "first reply"
"""The same for a duplicate: the bytes of the first reply, once more."""


@dataclass(frozen=True)
class Record:
    """A record for the command topic.

    `number` makes its correlation id. `expects` is FROM_MODEL, FIRST_REPLY, or the code of a refusal that needs no
    model. `command` is what the value says, where it says a command. `duplicate_of` is the first record's number.
    """

    number: int
    kind: str
    key: bytes
    value: bytes | None
    expects: str
    command: Command | None = None
    duplicate_of: int | None = None
    reply_to: str | None = None

    @property
    def correlation_id(self) -> bytes:
        return f"demo-{self.number:06}".encode()

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers."""
        extra = [("reply_to", self.reply_to.encode())] if self.reply_to else []
        return [("correlation_id", self.correlation_id), *extra]


@dataclass
class Story:
    """Tells records one by one; remembers what it told, for later duplicates."""

    seed: int
    chance: random.Random = field(init=False)
    told: list[Record] = field(default_factory=list)
    wallets: dict[str, list[str]] = field(default_factory=lambda: {"USD": [], "EUR": []})
    treasury: str = ""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - a story, not a secret

    def openings(self, commands: int) -> list[Record]:
        """Open enough wallets for `commands`, and a treasury that holds as much as a wallet may."""
        first = len(self.told)
        for number in range(max(WALLETS_MIN, commands // COMMANDS_PER_WALLET)):
            currency = "EUR" if number % EUR_EVERY == EUR_EVERY - 1 else "USD"
            self._open(currency, f"{self.chance.randint(100, 5000)}.{self.chance.randint(0, 9999):04}")
        self.treasury = self._open("JPY", LARGEST_AMOUNT)
        for _ in range(TREASURY_CREDITS):
            self.tell("CreditWallet", "CreditWallet", walletId=self.treasury, amount=LARGEST_AMOUNT)
        return self.told[first:]

    def business(self, commands: int) -> list[Record]:
        """`commands` records of all kinds, mixed as `KINDS` says; each kind at least once."""
        weights = [weight for weight, _ in KINDS.values()]
        some = self.chance.choices(list(KINDS), weights, k=max(0, commands - len(KINDS)))
        kinds = [*KINDS, *some]
        self.chance.shuffle(kinds)
        first = len(self.told)
        for kind in kinds:
            KINDS[kind][1](self, kind)
        return self.told[first:]

    def tell(self, kind: str, type_: str, expects: str = FROM_MODEL, **fields: Any) -> Record:
        """Add a command of a new id, under the key that the contract asks for."""
        reply_to = fields.pop("reply_to", None)
        command = {"commandId": self.new_id(), "type": type_, **fields}
        key = command.get("fromWalletId") or command.get("walletId", "")
        return self.add(kind, key.encode(), _json(command), expects, command=command, reply_to=reply_to)

    def add(self, kind: str, key: bytes, value: bytes | None, expects: str, **more: Any) -> Record:
        """Add any record."""
        record = Record(len(self.told), kind, key, value, expects, **more)
        self.told.append(record)
        return record

    def new_id(self) -> str:
        """An id that nobody else has."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def wallet(self, currency: str = "USD") -> str:
        """One of the wallets."""
        return self.chance.choice(self.wallets[currency])

    def pair(self) -> tuple[str, str]:
        """Two different wallets of one currency."""
        source, target = self.chance.sample(self.wallets["USD"], 2)
        return source, target

    def amount(self) -> str:
        """Something between 0.0001 and 400."""
        return f"{self.chance.randint(0, 399)}.{self.chance.randint(1, 9999):04}"

    def earlier(self) -> Record:
        """A command that was told shortly before, and that the model knows."""
        return self.chance.choice([record for record in self.told[-NEARBY:] if record.expects == FROM_MODEL])

    def _open(self, currency: str, balance: str) -> str:
        wallet = self.new_id()
        owner = f"customer-{len(self.told)}"
        self.tell(
            "CreateWallet", "CreateWallet", walletId=wallet, ownerId=owner, currency=currency, initialBalance=balance
        )
        self.wallets.setdefault(currency, []).append(wallet)
        return wallet


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _credit(story: Story, kind: str) -> None:
    story.tell(kind, "CreditWallet", walletId=story.wallet(), amount=story.amount())


def _debit(story: Story, kind: str) -> None:
    story.tell(kind, "DebitWallet", walletId=story.wallet(), amount=story.amount())


def _transfer(story: Story, kind: str) -> None:
    source, target = story.pair()
    story.tell(kind, "Transfer", fromWalletId=source, toWalletId=target, amount=story.amount())


def _duplicate(story: Story, kind: str) -> None:
    first = story.earlier()
    story.add(kind, first.key, first.value, FIRST_REPLY, duplicate_of=first.number)


def _reused_id(story: Story, kind: str) -> None:
    first = story.earlier()
    other = {**(first.command or {}), "reference": "another command under the same id"}
    story.add(kind, first.key, _json(other), "IdempotencyConflict", command=other)


def _too_much(story: Story, kind: str) -> None:
    story.tell(kind, "DebitWallet", walletId=story.wallet(), amount="99999999")


def _unknown_wallet(story: Story, kind: str) -> None:
    story.tell(kind, "Transfer", fromWalletId=story.wallet(), toWalletId=story.new_id(), amount=story.amount())


def _same_wallet(story: Story, kind: str) -> None:
    wallet = story.wallet()
    story.tell(kind, "Transfer", fromWalletId=wallet, toWalletId=wallet, amount=story.amount())


def _opened_again(story: Story, kind: str) -> None:
    fields = {"ownerId": "somebody-else", "currency": "USD", "initialBalance": "0"}
    story.tell(kind, "CreateWallet", walletId=story.wallet(), **fields)


def _other_currency(story: Story, kind: str) -> None:
    source, target = story.wallet("USD"), story.wallet("EUR")
    story.tell(kind, "Transfer", fromWalletId=source, toWalletId=target, amount=story.amount())


def _other_version(story: Story, kind: str) -> None:
    story.tell(kind, "DebitWallet", walletId=story.wallet(), amount=story.amount(), expectedVersion=10**9)


def _too_late(story: Story, kind: str) -> None:
    story.tell(kind, "DebitWallet", walletId=story.wallet(), amount=story.amount(), notAfter="2020-01-01T00:00:00Z")


def _full_wallet(story: Story, kind: str) -> None:
    story.tell(kind, "CreditWallet", walletId=story.treasury, amount=LARGEST_AMOUNT)


def _bad_amount(story: Story, kind: str) -> None:
    amount = story.chance.choice(["0", "-5", "1.00001", 12.5, "ten"])
    story.tell(kind, "CreditWallet", "InvalidAmount", walletId=story.wallet(), amount=amount)


def _misspelt_field(story: Story, kind: str) -> None:
    fields = {"walletId": story.wallet(), "amount": story.amount(), "expectedVersoin": 3}
    story.tell(kind, "DebitWallet", "InvalidCommand", **fields)


def _foreign_reply_topic(story: Story, kind: str) -> None:
    fields = {"walletId": story.wallet(), "amount": story.amount(), "reply_to": "somebody.elses.topic"}
    story.tell(kind, "DebitWallet", "ReplyTopicNotAllowed", **fields)


def _unreadable(story: Story, kind: str) -> None:
    values = [None, b"", b"\x00\xff\xfe", b"[1, 2", b'["no object"]', b'{"type": "CreditWallet"}']
    story.add(kind, story.wallet().encode(), story.chance.choice(values), "InvalidCommand")


UNREADABLE = "unreadable record"
KINDS: dict[str, tuple[int, Callable[[Story, str], None]]] = {
    "CreditWallet": (270, _credit),
    "DebitWallet": (270, _debit),
    "Transfer": (350, _transfer),
    "duplicate": (50, _duplicate),
    "id used again, for another command": (10, _reused_id),
    "debit of more than there is": (6, _too_much),
    "transfer to a wallet that is not there": (5, _unknown_wallet),
    "transfer to itself": (3, _same_wallet),
    "wallet opened twice": (3, _opened_again),
    "transfer into another currency": (5, _other_currency),
    "debit that expects another version": (5, _other_version),
    "debit past its deadline": (3, _too_late),
    "credit to a full wallet": (2, _full_wallet),
    "amount that is no amount": (3, _bad_amount),
    "misspelt field": (3, _misspelt_field),
    "reply topic that is not allowed": (2, _foreign_reply_topic),
    UNREADABLE: (10, _unreadable),
}
"""Each kind of record: how often it comes, in parts of about a thousand, and who tells it."""


def unreadable(records: list[Record]) -> Iterator[Record]:
    """Those that must end as dead letters."""
    return (record for record in records if record.kind == UNREADABLE)

"""The client without servers: what it takes, what it refuses, how a reply reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from tests.support.commands import new_id
from worker.client import Accepted, ErrorCode, NotSent, Rejected, WalletClient, part
from worker.contracts.commands import COMMAND, COMMAND_TYPES, CreditWallet
from worker.contracts.results import read_result
from worker.settings import Settings

WALLET, OTHER, HOLD, ID = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in (1, 2, 3, 4))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CREDIT = CreditWallet(type="CreditWallet", command_id=ID, wallet_id=WALLET, amount=1)
REPLY = {
    "commandId": None,
    "type": None,
    "status": "accepted",
    "processedAt": "2026-11-22T12:00:00.000000Z",
    "wallets": [],
}


def read(reply: dict, *headers: tuple[str, bytes | None]):
    return read_result(CREDIT, json.dumps(reply).encode(), headers)


def test_every_type_of_command_has_a_method():
    """Thirteen of each; the names are those of the verbs."""
    methods = {
        "CreateWallet": "create_wallet", "CreditWallet": "credit", "DebitWallet": "debit", "Transfer": "transfer",
        "PlaceHold": "place_hold", "ReleaseHold": "release_hold", "CaptureHold": "capture_hold",
        "ExpireHold": "expire_hold", "SuspendWallet": "suspend_wallet", "ReactivateWallet": "reactivate_wallet",
        "CloseWallet": "close_wallet", "UpdateMetadata": "update_metadata", "Atomic": "atomic",
    }  # fmt: skip

    assert set(methods) == {model.__name__ for model in COMMAND_TYPES}
    assert all(callable(getattr(WalletClient, name)) for name in methods.values())


class Exchange:
    """Takes the place of Kafka: keeps what would be published, and accepts everything."""

    async def ask(self, key: bytes, value: bytes, timeout_s: float, read: Callable[[Any], Any]) -> Any:
        """Answer at once."""
        self.key, self.value = key, value
        return read(SimpleNamespace(value=json.dumps(REPLY).encode(), headers=()))


@pytest.fixture
def exchange():
    return Exchange()


@pytest.fixture
def wallets(exchange):
    client = WalletClient(Settings())
    client._exchange = exchange
    return client


def travelled(exchange: Exchange) -> dict:
    """What was published, after the worker's own reading has taken it."""
    COMMAND.validate_json(exchange.value, by_alias=True, by_name=False)
    return json.loads(exchange.value)


async def test_what_is_as_it_is_by_default_does_not_travel(wallets, exchange):
    """The worker fills in its own defaults; only the id is drawn here."""
    answer = await wallets.create_wallet(WALLET, "alice")

    assert travelled(exchange) == {
        "type": "CreateWallet", "commandId": answer.command_id, "walletId": WALLET, "ownerId": "alice",
    }  # fmt: skip


async def test_everything_that_is_said_travels(wallets, exchange):
    """Under the contract's names: ids as text, amounts with four places, times in UTC; a null in metadata too."""
    await wallets.place_hold(
        UUID(WALLET), HOLD, 5, hold_type="ESCROW", expires_at=NOON, command_id=UUID(ID), expected_version=0,
        not_after=NOON, reference="order-1", metadata={"a": None},
    )  # fmt: skip

    assert travelled(exchange) == {
        "type": "PlaceHold", "commandId": ID, "walletId": WALLET, "holdId": HOLD, "amount": "5.0000",
        "holdType": "ESCROW", "expiresAt": "2026-11-22T12:00:00Z", "expectedVersion": 0,
        "notAfter": "2026-11-22T12:00:00Z", "reference": "order-1", "metadata": {"a": None},
    }  # fmt: skip


async def test_the_key_is_the_wallet_that_the_command_is_about(wallets, exchange):
    """Of a transfer the one that pays, of a group its first part's: it keeps a wallet's commands in order."""
    keys = []
    for asked in (wallets.transfer(OTHER, WALLET, 1), wallets.atomic(part.credit(OTHER, 1), part.debit(WALLET, 1))):
        await asked
        keys.append(exchange.key.decode())

    assert keys == [OTHER, OTHER]


@pytest.mark.parametrize("amount", ["12.5", Decimal("12.50"), "12.5000"])
async def test_an_amount_is_text_or_a_decimal(wallets, exchange, amount):
    """However it is written, it is the same."""
    await wallets.transfer(WALLET, OTHER, amount)

    assert travelled(exchange)["amount"] == "12.5000"


@pytest.mark.parametrize(("ask", "says"), [
    (lambda wallets: wallets.credit(WALLET, 0), "^CreditWallet: amount: an amount is more than 0"),
    (lambda wallets: wallets.debit(WALLET, True), "^DebitWallet: amount: an amount is a JSON string"),
    (lambda wallets: wallets.credit("x", 1), "^CreditWallet: wallet_id: String should match pattern"),
    (lambda wallets: wallets.credit(WALLET, 1, command_id="x"), "^CreditWallet: command_id: "),
    (lambda wallets: wallets.create_wallet(WALLET, "alice", expected_version=1), "^CreateWallet: expected_version: "),
    (lambda wallets: wallets.place_hold(WALLET, HOLD, 1, hold_type="GIFT"), "^PlaceHold: hold_type: "),
    (lambda wallets: wallets.credit(WALLET, 1, not_after=NOON.replace(tzinfo=None)), "^CreditWallet: not_after: "),
    (lambda wallets: wallets.atomic(part.credit(WALLET, 1)), "^Atomic: commands: .* at least 2 items"),
    (lambda wallets: wallets.atomic(part.credit(WALLET, 0), part.credit(WALLET, 1)), r"^Atomic: commands\.0\.amount: "),
])  # fmt: skip
async def test_what_is_no_command_is_refused_in_one_line(wallets, exchange, ask, says):
    """Which field, and why; nothing is sent."""
    with pytest.raises(ValueError, match=says) as refused:
        await ask(wallets)

    assert "\n" not in str(refused.value)
    assert not hasattr(exchange, "value")


def test_importing_the_client_brings_neither_framework_nor_stores():
    """An upstream service needs Kafka alone, and what makes its consumer survive what it cannot read."""
    heavy = {"faststream", "sqlalchemy", "asyncpg", "esdbclient", "grpc", "elasticsearch", "redis", "structlog"}
    script = "import sys, worker.client; print(*sys.modules)"

    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert {"aiokafka", "worker.kafka_fetch"} <= set(modules)
    assert heavy.isdisjoint(modules)


async def test_a_client_that_is_not_open_sends_nothing():
    """Said in one line, with what to do."""
    wallets = WalletClient(Settings())

    with pytest.raises(NotSent, match=r"the client is not open: expected `async with WalletClient\(\) as wallets:`"):
        await wallets.credit(new_id(), 1)


async def test_kafka_that_does_not_answer_is_said_at_the_start():
    """One line, which says where it was looked for."""
    wallets = WalletClient(Settings(kafka_bootstrap_servers="127.0.0.1:1"))

    with pytest.raises(NotSent, match=r"^Kafka at 127\.0\.0\.1:1: no answer$"):
        async with wallets:
            pytest.fail("it opened")


def test_a_reply_topic_that_the_worker_would_refuse_is_refused_at_once():
    """Otherwise every command would be refused, where nobody reads it."""
    with pytest.raises(ValueError, match=r"reply_topic 'wallet\.commands': expected one that REPLY_TOPIC_PATTERN"):
        WalletClient(Settings(), reply_topic="wallet.commands")


def test_an_accepted_reply_reads_as_accepted():
    """The id and the type are the command's; what a later worker adds is passed over."""
    answer = read_result(CREDIT, json.dumps(REPLY | {"addedLater": 1}).encode(), [("replayed", b"true")])

    assert isinstance(answer, Accepted)
    assert (answer.command_id, answer.type) == (CREDIT.command_id, "CreditWallet")
    assert answer.replayed
    assert answer.hold is None
    assert (answer.wallets, answer.parts) == ((), ())


def test_a_rejected_reply_reads_as_rejected():
    """With code, message and details."""
    error = {"code": "WalletNotFound", "message": "There is no such wallet.", "details": {"walletId": "w"}}

    answer = read(REPLY | {"status": "rejected", "error": error}, ("replayed", None))

    assert isinstance(answer, Rejected)
    assert (answer.code, answer.message, answer.details) == (
        ErrorCode.WALLET_NOT_FOUND, "There is no such wallet.", {"walletId": "w"},
    )  # fmt: skip
    assert not answer.replayed


def test_the_reply_to_another_command_is_none_to_this_one():
    """An expiry is answered under the correlation id of its `PlaceHold`, whose sender may still wait."""
    assert read(REPLY | {"commandId": OTHER, "type": "ExpireHold"}) is None
    assert isinstance(read(REPLY | {"commandId": ID}), Accepted)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[]"])
def test_what_is_no_reply_is_not_taken_for_one(value):
    """Whatever it is."""
    with pytest.raises(ValidationError):
        read_result(CREDIT, value, [])

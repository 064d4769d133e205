"""The command line against a stack of its own, with a worker and a projector as processes: what a person types."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack.stack import Stack
from devstack.wallex import WallexProcess
from tests.support.command_line import Done, wallex
from tests.support.commands import Command, create_wallet, new_id
from tests.support.ledger import engine_of, run
from tests.support.postgres import administrator

WALLEX = str(Path(sys.executable).with_name("wallex"))
PATIENCE_S = 40.0
UNANSWERED = "wallet.replies.unanswered"
AGE_WALLET = """
UPDATE ledger SET occurred_at = occurred_at - interval '2 min' WHERE wallet_id = '{0}';
UPDATE wallets SET created_at = created_at - interval '2 min', updated_at = updated_at - interval '2 min'
WHERE id = '{0}'
"""


class Shop:
    """The commands, in an environment in which everything runs."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def wallex(self, *arguments: str, **environment: str) -> Done:
        """Run one command to its end."""
        return wallex(self.environment | environment, *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command as a process and go on."""
        variables = {"PATH": os.environ["PATH"], **self.environment}
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        command = ["env", "--default-signal=INT", WALLEX, *arguments]
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)

    def send(self, type_: str, *fields: str) -> dict:
        """Send a command and return its reply."""
        done = self.wallex("send", type_, *fields, "--wait", "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def wallet(self, balance: str = "100") -> str:
        """Open a wallet; return its id."""
        wallet_id = new_id()
        reply = self.send("CreateWallet", f"walletId={wallet_id}", "ownerId=[red]o", f"initialBalance={balance}")
        assert reply["status"] == "accepted"
        return wallet_id

    def until(self, code: int, *arguments: str) -> Done:
        """Run a command until it ends with `code`: Elasticsearch follows a little later."""
        deadline = time.monotonic() + PATIENCE_S
        while (done := self.wallex(*arguments)).returncode != code:
            assert time.monotonic() < deadline, done
        return done


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A stack of its own, since `verify` compares everything that the servers hold."""
    folder = tmp_path_factory.mktemp("shop")
    stack = Stack(folder / "stack")
    try:
        stack.up()
        own = Shop(stack.environment())
        with (
            WallexProcess("worker", own.environment | {"DB_RUN_MIGRATIONS": "true"}, folder / "worker.log") as worker,
            WallexProcess("projector", own.environment, folder / "projector.log") as projector,
        ):
            worker.wait_ready()
            projector.wait_ready()
            yield own
    finally:
        stack.down()


def test_an_accepted_command_is_shown_with_its_wallets(shop):
    """Exit code 0, and a table that is fine in a pipe: no colour, no cut ids."""
    source, target = shop.wallet("100"), shop.wallet("0")

    done = shop.wallex("send", "Transfer", f"fromWalletId={source}", f"toWalletId={target}", "amount=12.5", "--wait")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("accepted  Transfer  ")
    assert "\x1b" not in done.stdout
    assert source in done.stdout
    assert target in done.stdout
    assert "87.5000" in done.stdout


def test_a_rejected_command_has_exit_code_1_and_says_why(shop):
    """A script tells it from an accepted one, a person reads enough to act on."""
    wallet_id = shop.wallet("3")

    done = shop.wallex("send", "DebitWallet", f"walletId={wallet_id}", "amount=5", "--wait")

    assert done.returncode == 1
    assert done.stdout.startswith("rejected  DebitWallet  ")
    assert "InsufficientFunds" in done.stdout
    assert "available: 3.0000" in done.stdout


def test_the_same_id_gives_the_same_reply(shop):
    """What to do after no answer: send it again under its id."""
    wallet_id, command_id = shop.wallet(), new_id()
    again = ("send", "CreditWallet", f"walletId={wallet_id}", "amount=1", "--id", command_id, "--wait")

    first, second = shop.wallex(*again, "--json"), shop.wallex(*again)

    assert json.loads(first.stdout)["commandId"] == command_id
    assert second.stdout.startswith("accepted (its first reply, again)  CreditWallet")
    assert "101.0000" in second.stdout


def test_without_waiting_the_place_of_the_command_is_shown(shop):
    """The drawn id is shown: it is what one asks with later."""
    wallet_id = shop.wallet()

    done = shop.wallex("send", "CreditWallet", f"walletId={wallet_id}", "amount=1", "--json")

    assert done.returncode == 0
    place = json.loads(done.stdout)
    assert place["topic"] == "wallet.commands"
    known = shop.until(0, "command", place["commandId"], "--json")
    assert json.loads(known.stdout)["attempts"][0]["status"] == "accepted"


def test_no_answer_is_exit_code_2_and_says_that_the_outcome_is_unknown(shop):
    """Nobody reads that command topic."""
    asyncio.run(_create_topic(shop, "commands.of.nobody"))

    done = shop.wallex(
        "send", "CreditWallet", f"walletId={new_id()}", "amount=1", "--wait", "--timeout", "0.5",
        COMMAND_TOPICS="commands.of.nobody",
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wallex: no answer within 0.5 s, so the outcome is unknown: send the same again")


def test_a_missing_command_topic_is_not_made(shop):
    """The broker would make it with a partition of its own liking."""
    done = shop.wallex("send", "CreditWallet", f"walletId={new_id()}", "amount=1", COMMAND_TOPICS="misspelt")

    assert done.returncode == 2
    assert done.stderr.startswith("wallex: not sent: there is no topic misspelt")


def test_a_reply_to_another_topic_is_found_there_or_where_it_went_instead(shop):
    """An allowed topic that does not exist is replaced by the default one."""
    wallet_id = shop.wallet()

    done = shop.wallex(
        "send", "CreditWallet", f"walletId={wallet_id}", "amount=1", "--reply-to", UNANSWERED, "--wait", "--json"
    )

    assert done.returncode == 0, done.stderr


def test_replies_can_be_chosen_by_wallet_and_status(shop):
    """As a table in the order of time, or one object a line; foreign records are passed over and counted."""
    wallet_id = shop.wallet("1")
    shop.send("DebitWallet", f"walletId={wallet_id}", "amount=2")
    shop.send("CreditWallet", f"walletId={wallet_id}", "amount=2")
    asyncio.run(_put(shop, "wallet.replies", b"not a reply"))

    of_wallet = shop.wallex("replies", "--wallet", wallet_id, "--json")
    rejected = shop.wallex("replies", "--wallet", wallet_id, "--status", "rejected")

    assert [json.loads(line)["type"] for line in of_wallet.stdout.splitlines()] == [
        "CreateWallet",
        "DebitWallet",
        "CreditWallet",
    ]
    heading, line = rejected.stdout.splitlines()
    assert heading.startswith("time (UTC)")
    assert "InsufficientFunds" in line
    assert "records of wallet.replies that are no replies" in rejected.stderr


def test_replies_can_be_followed(shop):
    """What was there comes first, then what comes."""
    wallet_id = shop.wallet()
    follower = shop.start("replies", "--follow", "--wallet", wallet_id, "--json")
    try:
        first = json.loads(follower.stdout.readline())
        shop.send("CreditWallet", f"walletId={wallet_id}", "amount=1")
        second = json.loads(follower.stdout.readline())
    finally:
        follower.send_signal(signal.SIGINT)
        code = follower.wait(PATIENCE_S)
        follower.stdout.close()

    assert (first["type"], second["type"]) == ("CreateWallet", "CreditWallet")
    assert code == 130


def test_a_wallet_is_shown_as_every_store_has_it(shop):
    """Side by side, with its last entries; a text is shown as it is, whatever it looks like."""
    wallet_id = shop.wallet()

    done = shop.until(0, "wallet", wallet_id)

    assert "Postgres" in done.stdout
    assert "≠" not in done.stdout
    assert done.stdout.count("[red]o") == 3
    assert done.stdout.count("WalletCreated") == 1


def test_a_wallet_on_which_the_stores_differ_has_exit_code_1(shop):
    """What differs is marked."""
    wallet_id = shop.wallet()
    shop.until(0, "wallet", wallet_id)
    asyncio.run(_execute(shop, f"UPDATE wallets SET balance = 7 WHERE id = '{wallet_id}'"))

    done = shop.wallex("wallet", wallet_id)
    asyncio.run(_execute(shop, f"UPDATE wallets SET balance = 100 WHERE id = '{wallet_id}'"))

    marked = [line.split("│")[2].strip() for line in done.stdout.splitlines() if "≠" in line]
    assert done.returncode == 1
    assert marked == ["balance", "available"]
    assert f"the stores differ on wallet {wallet_id}" in done.stderr


def test_a_store_that_is_away_does_not_hide_the_others(shop):
    """Said to be away, and no difference."""
    wallet_id = shop.wallet()
    shop.until(0, "wallet", wallet_id)

    done = shop.wallex(
        "wallet",
        wallet_id,
        "--json",
        ELASTICSEARCH_URL="http://127.0.0.1:1",
        KURRENTDB_URI="esdb://127.0.0.1:1?Tls=false",
    )

    stores = json.loads(done.stdout)["stores"]
    assert done.returncode == 0
    assert done.stderr == ""
    assert stores["Postgres"]["balance"] == "100.0000"
    assert list(stores["KurrentDB"]) == list(stores["Elasticsearch"]) == ["away"]


def test_what_nobody_knows_has_exit_code_1(shop):
    """A wallet and a command that never were."""
    wallet, command = shop.wallex("wallet", new_id()), shop.wallex("command", new_id())

    assert (wallet.returncode, command.returncode) == (1, 1)
    assert wallet.stderr.startswith("wallex: no store that answers has a wallet")
    assert command.stderr.startswith("wallex: no store that answers knows a command")


def test_a_command_is_shown_with_its_events_in_each_store(shop):
    """Its reply, and both halves of a transfer."""
    source, target, command_id = shop.wallet(), shop.wallet(), new_id()
    fields = (f"commandId={command_id}", f"fromWalletId={source}", f"toWalletId={target}", "amount=1")
    reply = shop.send("Transfer", *fields)
    shop.until(0, "wallet", target)

    deadline = time.monotonic() + PATIENCE_S
    while (shown := shop.wallex("command", command_id)).stdout.count("the same") < 4:
        assert time.monotonic() < deadline, shown
    known = json.loads(shop.wallex("command", command_id, "--json").stdout)

    assert known["attempts"][0]["reply"] == reply
    assert [entry["walletId"] for entry in known["entries"]] == [source, target]
    assert [event["eventType"] for event in known["events"]] == ["WalletDebited", "WalletCredited"]
    assert {line["commandId"] for line in known["documents"]} == {command_id}


def test_verify_agrees_with_what_the_processes_wrote(shop):
    """While they run; then a changed row is found: the others bear witness against it."""
    wallet_id = shop.wallet()
    clean, scripted = shop.wallex("verify"), shop.wallex("verify", "--json")
    asyncio.run(_execute(shop, f"UPDATE wallets SET owner_id = 'x' WHERE id = '{wallet_id}'"))

    told = shop.wallex("verify")
    asyncio.run(_execute(shop, f"UPDATE wallets SET owner_id = '[red]o' WHERE id = '{wallet_id}'"))

    assert clean.returncode == 0, clean.stdout
    assert clean.stdout.startswith("all stores agree (")
    assert json.loads(scripted.stdout)["clean"] is True
    assert told.returncode == 1
    assert f"wallet {wallet_id}" in told.stdout
    assert told.stdout.count("[red]o") >= 2
    assert "differences in 1 wallets" in told.stdout


def test_verify_repair_makes_up_what_nobody_else_will(shop):
    """A change of two minutes ago, committed and never appended; the second time there is nothing to do."""
    wallet_id = new_id()
    asyncio.run(_commit_only(shop, create_wallet(wallet_id)))

    found = shop.wallex("verify")
    repaired, again = shop.wallex("verify", "--repair"), shop.wallex("verify", "--repair", "--json")

    assert found.returncode == 1
    assert "3 differences in 1 wallets, 3 of them only lag: see --repair" in found.stdout
    assert repaired.returncode == 0, repaired.stdout
    assert f"wallet {wallet_id}" in repaired.stdout
    assert "revisions 0 to 0" in repaired.stdout
    assert "1 wallets repaired, all stores agree (" in repaired.stdout
    assert again.returncode == 0
    assert (json.loads(again.stdout)["repaired"], json.loads(again.stdout)["differences"]) == ([], [])


async def _commit_only(shop: Shop, command: Command) -> None:
    """Run a command that opens a wallet as if two minutes ago, and go no further than Postgres."""
    async with engine_of(shop.environment) as engine:
        await run(engine, command)
    await _execute(shop, AGE_WALLET.format(command["walletId"]))


async def _create_topic(shop: Shop, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.environment["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def _put(shop: Shop, topic: str, value: bytes) -> None:
    """Write a record into a topic."""
    producer = AIOKafkaProducer(bootstrap_servers=shop.environment["KAFKA_BOOTSTRAP_SERVERS"])
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _execute(shop: Shop, statement: str) -> None:
    async with administrator(shop.environment, shop.environment["DB_NAME"]) as connection:
        await connection.execute(statement)

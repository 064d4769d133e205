"""Commands as they are typed: what becomes of `key=text` and `key:=json`, and what is refused before it is sent."""

from __future__ import annotations

import json

import pytest

from worker.cli import run
from worker.cli.notation import NotationError, check_command, read_fields

WALLET_ID = "11111111-1111-4111-8111-111111111111"
COMMAND_ID = "22222222-2222-4222-8222-222222222222"


def test_an_equals_sign_makes_text_and_a_colon_before_it_json():
    """httpie's notation: text may look like a number, and may hold any further sign."""
    typed = ["amount=12.50", "expectedVersion:=7", 'metadata:={"a": [1, null]}', "reference=a=b:=c", "ownerId="]

    assert read_fields(typed) == {
        "amount": "12.50",
        "expectedVersion": 7,
        "metadata": {"a": [1, None]},
        "reference": "a=b:=c",
        "ownerId": "",
    }


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["walletId"], "expected key=text or key:=json"),
        (["=12"], "expected key=text or key:=json"),
        (["amount:=12,5"], "what follows := is not JSON"),
        (["amount=1", "amount=2"], "amount is there already"),
        (["type=DebitWallet"], "the type is the first argument"),
        (['metadata:={"a":{"b":1},"a":{"b":1}}'], "metadata.a: the key stands there twice"),
        (['metadata:={"n":18446744073709551616}'], "metadata.n: metadata holds numbers that come back"),
        (['metadata:={"n":[1.23456789012345678901]}'], r"metadata.n.0: metadata holds numbers that come back"),
        (['commands:=[{"metadata":{"n":1e-400}}]'], "commands.0.metadata.n: metadata holds numbers that come back"),
    ],
)
def test_what_is_no_field_is_refused_with_the_reason(typed, reason):
    """The message repeats what was typed, or names the place in it, and says what was expected."""
    with pytest.raises(NotationError, match=reason) as refused:
        read_fields(typed)

    assert repr(typed[-1]) in str(refused.value) or str(refused.value).startswith(typed[-1].partition(":")[0])


def test_what_travels_is_what_was_typed():
    """The worker's models only check: nothing is filled in or normalised on the way."""
    fields = {"commandId": COMMAND_ID, "walletId": WALLET_ID, "amount": "5"}

    command, value = check_command("CreditWallet", fields)

    assert command.command_id == COMMAND_ID
    assert json.loads(value) == {"type": "CreditWallet", **fields}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["Nonsense"], "'Nonsense' is no command's type: expected one of CreateWallet, "),
        (["CreditWallet", "amount=1"], "walletId: Field required"),
        (["CreditWallet", f"walletId={WALLET_ID}", "amount:=1.5"], "amount: an amount is a JSON string"),
        (["CreditWallet", f"walletId={WALLET_ID}", "amount=1", "expectedVersoin:=1"], "expectedVersoin: Extra inputs"),
        (["CreditWallet", f"walletId={WALLET_ID}", "amount=1", "--id", "x"], "commandId: String should match"),
        (["CreditWallet", f"commandId={COMMAND_ID}", "--id", COMMAND_ID], "both name the command's id"),
        (["CreditWallet", f"walletId={WALLET_ID}", "amount=1", "--reply-to", "elsewhere"], "REPLY_TOPIC_PATTERN"),
        (["CreditWallet", f"walletId={WALLET_ID}", "amount=1", f"reference={'x' * 256}"], "reference: "),
    ],
)
def test_a_wrong_command_is_not_sent(arguments, reason, capsys):
    """Exit code 64 and one line with where and why, without a look at Kafka."""
    assert run(["send", *arguments]) == 64

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("wallex: not sent: ")
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_a_command_over_the_size_limit_is_not_sent(monkeypatch, capsys):
    """MAX_COMMAND_BYTES holds here as it does in the worker."""
    monkeypatch.setenv("MAX_COMMAND_BYTES", "100")

    assert run(["send", "CreditWallet", f"walletId={WALLET_ID}", "amount=1"]) == 64

    assert "at most 100 (MAX_COMMAND_BYTES)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["send", "CreditWallet", f"walletId={WALLET_ID}", "amount=1"], ["replies"]])
def test_kafka_being_away_is_one_line(arguments, monkeypatch, capsys):
    """No traceback and no client's log: where it was looked for, and that nothing was sent."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    code = run(arguments)

    said = capsys.readouterr()
    assert code == (2 if arguments[0] == "send" else 1)
    assert said.out == ""
    assert said.err.endswith("Kafka at 127.0.0.1:1: no answer\n")
    assert said.err.count("\n") == 1

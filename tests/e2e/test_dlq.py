"""Dead letters from end to end: listed, shown, and run again once what made them fail is mended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.e2e.conftest import MakeWorld
from tests.support.command_line import Done, wallex
from tests.support.commands import Command, Record, create_wallet, credit, new_id, publish
from tests.support.invariants import check_rows, check_streams, read_books
from tests.support.ledger import fail_one_command
from tests.support.received import command_record
from tests.support.replies import Topic, code, content, header
from tests.support.workers import Worker
from tests.support.world import World
from worker.cli.dead_letters import read_letter
from worker.cli.letter_table import print_letter

KEPT_BYTES = 512 * 1024


async def dlq(world: World, *arguments: str) -> Done:
    """Run `wallex dlq …` in this world."""
    return await asyncio.to_thread(wallex, world.environment, "dlq", *arguments)


async def listed(world: World, *arguments: str) -> list[Any]:
    """What `wallex dlq list` shows, as it is for a script."""
    done = await dlq(world, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return done.objects


async def attempts(world: World, command: Command) -> list[tuple[int, str | None]]:
    """The stored attempts at a command, with their error codes."""
    rows = (await read_books(world)).commands[command["commandId"]]
    return [(row["attempt"], row["error_code"]) for row in rows]


async def balance(world: World, wallet_id: str) -> str:
    """The wallet's balance, after ledger, rows and streams were compared."""
    books = await read_books(world)
    check_rows(books)
    check_streams(books)
    return str(books.wallets[wallet_id]["balance"])


async def until_answered(replies: Topic, id_: bytes, times: int) -> list[ConsumerRecord]:
    """Wait until the record with the correlation id `id_` was answered so often."""
    await replies.until(lambda: len(replies.to(id_)) >= times, f"{times} replies to {id_!r}")
    return replies.to(id_)


async def at_work(world: World, wallet_id: str) -> tuple[Worker, Topic, Topic]:
    """A worker, and a wallet with 100 in it; the replies and the dead letters."""
    replies, letters = await world.topic(world.reply_topic), await world.topic(world.dlq_topic)
    worker = world.start("a")
    await worker.assigned()
    await replies.until_answered(await world.send([create_wallet(wallet_id, "100")]))
    return worker, replies, letters


async def a_failure(world: World, command: Command, replies: Topic) -> bytes:
    """Send a `command` that fails for an unexpected reason; return its correlation id."""
    (id_,) = await world.send([command])
    (reply,) = await replies.until_answered([id_])
    assert code(reply) == "InternalError"
    return id_


async def test_a_failed_command_runs_again_once_it_is_replayed(world):
    """Under the same id, with the same bytes and headers; its sender is answered as if it had been sent just now."""
    command = credit(a := new_id(), "5")
    worker, replies, letters = await at_work(world, a)
    async with fail_one_command(world.environment, command["commandId"]):
        id_ = await a_failure(world, command, replies)
        (letter,) = await letters.until_count(1)

    (shown,) = await listed(world)
    done = await dlq(world, "replay", shown["letter"])
    failed, accepted = await until_answered(replies, id_, 2)
    again = await dlq(world, "replay", shown["letter"])

    assert (shown["commandId"], shown["key"]) == (command["commandId"], a)
    assert (shown["code"], shown["attempt"], shown["truncated"]) == ("InternalError", 1, False)
    assert done.returncode == 0, done.stderr
    assert f"command {command['commandId']}, attempt 2" in done.stdout
    assert content(failed)["commandId"] == content(accepted)["commandId"] == command["commandId"]
    assert (code(accepted), header(accepted, "replayed"), accepted.key) == (None, None, a.encode())
    assert again.returncode == 1
    assert "its command has run since, as attempt 2" in again.stderr
    assert await attempts(world, command) == [(1, "InternalError"), (2, None)]
    assert await balance(world, a) == "105.0000"
    sent = (await (await world.topic(world.command_topic)).to_end())[-1]
    assert (sent.key, sent.value) == (letter.key, letter.value)
    assert sorted(sent.headers) == [("correlation_id", id_), ("dlq_attempt", b"2")]
    assert await worker.stop() == 0


async def test_a_letter_that_is_replayed_twice_runs_once(world):
    """Twice before the worker comes to it: the second record is a repeat, and is answered so."""
    command = credit(a := new_id(), "5")
    worker, replies, _ = await at_work(world, a)
    async with fail_one_command(world.environment, command["commandId"]):
        id_ = await a_failure(world, command, replies)
    assert await worker.stop() == 0

    done = [await dlq(world, "replay", "--code", "InternalError") for _ in range(2)]
    await (second := world.start("a")).assigned()
    _, accepted, repeated = await until_answered(replies, id_, 3)

    assert [one.returncode for one in done] == [0, 0], done
    assert (code(accepted), header(accepted, "replayed")) == (None, None)
    assert (repeated.value, header(repeated, "replayed")) == (accepted.value, b"true")
    assert await attempts(world, command) == [(1, "InternalError"), (2, None)]
    assert await balance(world, a) == "105.0000"
    assert await second.stop() == 0


async def test_a_command_that_fails_again_makes_another_letter_that_counts_on(world):
    """Only the last letter of a command runs it again, however many there are."""
    command = credit(a := new_id(), "5")
    worker, replies, letters = await at_work(world, a)

    async with fail_one_command(world.environment, command["commandId"]):
        id_ = await a_failure(world, command, replies)
        await letters.until_count(1)
        second = await dlq(world, "replay", "--all")
        await until_answered(replies, id_, 2)
        await letters.until_count(2)
    first = await dlq(world, "replay", (await listed(world))[0]["letter"])
    third = await dlq(world, "replay", "--all")
    told = await until_answered(replies, id_, 3)

    assert [code(reply) for reply in told] == ["InternalError", "InternalError", None]
    assert second.stdout.endswith("replayed 1, not replayed 0\n")
    assert third.stdout.endswith("replayed 1, not replayed 0\n")
    assert "attempt 3" in third.stdout
    assert third.returncode == 0
    assert (first.returncode, first.stdout) == (1, "replayed 0, not replayed 1\n")
    assert [one["attempt"] for one in await listed(world)] == [1, 2]
    assert await attempts(world, command) == [(1, "InternalError"), (2, "InternalError"), (3, None)]
    assert await balance(world, a) == "105.0000"
    assert await worker.stop() == 0


async def test_every_kind_of_record_is_listed_and_shown_whole(world):
    """Null, binary and oversized ones, and what a terminal would act upon; records that are no letters are counted."""
    hostile = Record(b"\xff\x1b[2J", b'{"a": "\x9b2J\xc2\x9b"', (("n\x1b", None), ("b", b"\x00\xff")), 0)
    long_key = b"k" * 100
    records = [Record(None, None, (), 1), hostile, Record(long_key, b'{"z":1,"commandId":"no"}', (), 2)]
    letters = await world.topic(world.dlq_topic)
    await (worker := world.start("a")).assigned()
    await world.send_as_is(records)
    await letters.until_count(3)
    await publish(world.producer, world.dlq_topic, [Record(b"k", b"no letter")])

    table, found = await dlq(world, "list"), await listed(world)
    by_key = {json.dumps(one["key"]): one for one in found}
    shown = await dlq(world, "show", by_key['{"hex": "ff1b5b324a"}']["letter"])
    whole = await dlq(world, "show", by_key['{"hex": "ff1b5b324a"}']["letter"], "--json")
    empty = await dlq(world, "show", by_key["null"]["letter"])
    readable = await dlq(world, "show", by_key[json.dumps(long_key.decode())]["letter"])

    assert len(table.stdout.splitlines()) == 4
    assert f" {'k' * 35}… " in table.stdout
    assert "passed over 1 records" in table.stderr
    assert {one["code"] for one in found} == {"InvalidCommand"}
    assert all(one.isprintable() for done in (table, shown) for one in done.stdout.replace("\n", ""))
    assert r"key: \xff\x1b[2J" in shown.stdout
    assert whole.objects[0]["value"] == {"hex": hostile.value.hex()}
    assert whole.objects[0]["headers"][-2:] == [["n\x1b", None], ["b", {"hex": "00ff"}]]
    assert empty.stdout.endswith("key: \nno value\n")
    assert '{\n  "z": 1,\n  "commandId": "no"\n}\n' in readable.stdout
    assert await listed(world, "--code", "InternalError") == []
    assert await worker.stop() == 0


async def test_what_cannot_run_again_is_told_and_the_rest_is_replayed(make_world: MakeWorld):
    """Cut, forged, or not there; unreadable records, null ones too, come back as dead letters of the next attempt."""
    world = await make_world(partitions=1)
    letters = await world.topic(world.dlq_topic)
    await (worker := world.start("a")).assigned()
    await world.send_as_is(
        [Record(b"cut", b"x" * (KEPT_BYTES + 1)), Record(b"garbage", b"garbage"), Record(None, None)]
    )
    await letters.until_count(3)
    forged = (("dlq_error_code", b"InternalError"), ("dlq_topic", world.reply_topic.encode()))
    await publish(world.producer, world.dlq_topic, [Record(b"forged", b"{}", forged)])

    readable = await dlq(world, "replay", "--all")
    done = await dlq(world, "replay", "--all", "--unreadable")
    *_, garbage, null = await letters.until_count(6)
    missing = await dlq(world, "replay", "0:99", "7:0")

    assert (readable.returncode, readable.stdout) == (0, "replayed 0, not replayed 0\n")
    assert done.returncode == missing.returncode == 1
    assert done.stdout.endswith("replayed 2, not replayed 2\n")
    assert "0:0 is not replayed: its record was too large to be kept whole" in done.stderr
    assert f"0:3 is not replayed: it came from {world.reply_topic}" in done.stderr
    assert (garbage.key, garbage.value, header(garbage, "dlq_attempt")) == (b"garbage", b"garbage", b"2")
    assert (null.key, null.value, header(null, "dlq_attempt")) == (None, None, b"2")
    assert missing.stderr.count("there is no dead letter there") == 2
    assert await worker.stop() == 0


async def test_replaying_all_leaves_alone_what_has_run(world):
    """Old letters stay in the topic: a later `--all` is for the new ones."""
    commands = [credit(a := new_id(), "5"), credit(a, "1")]
    worker, replies, letters = await at_work(world, a)

    sent, done = [], []
    for count, command in enumerate(commands, start=1):
        async with fail_one_command(world.environment, command["commandId"]):
            sent.append(await a_failure(world, command, replies))
            await letters.until_count(count)
        done.append(await dlq(world, "replay", "--all"))
        await until_answered(replies, sent[-1], 2)

    assert [one.stdout.count("attempt 2") for one in done] == [1, 1]
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 2
    assert await balance(world, a) == "106.0000"
    assert [len(replies.to(id_)) for id_ in sent] == [2, 2]
    assert await worker.stop() == 0


async def test_a_command_of_a_wallet_that_was_quarantined_is_answered_by_its_replay(world):
    """It took effect before its letter was written: it is answered with what is stored, and does not run again."""
    command = credit(a := new_id(), "5")
    worker, replies, _ = await at_work(world, a)
    (id_,) = await world.send([command])
    await replies.until_answered([id_])
    ours = (("dlq_error_code", b"WalletQuarantined"), ("dlq_topic", world.command_topic.encode()))
    letter = Record(a.encode(), json.dumps(command).encode(), (*ours, ("correlation_id", id_), ("dlq_attempt", b"1")))
    await publish(world.producer, world.dlq_topic, [letter])

    done = await dlq(world, "replay", "--code", "WalletQuarantined")
    first, answer = await until_answered(replies, id_, 2)

    assert (done.returncode, done.stdout.endswith("replayed 1, not replayed 0\n")) == (0, True)
    assert (answer.value, header(answer, "replayed")) == (first.value, b"true")
    assert await balance(world, a) == "105.0000"
    assert await worker.stop() == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"z": 1, "a": [true]}', '{\n  "z": 1,\n  "a": [\n    true\n  ]\n}'),
        (b'{"amount": 1.50}', '{"amount": 1.50}'),
        (b'{"amount":123456789012345678901}', '{"amount":123456789012345678901}'),
        (b'{"a":1,"a":2}', '{"a":1,"a":2}'),
        (b"[" * 500 + b"]" * 500, "[" * 500 + "]" * 500),
        (b"\x1b[2J\n\xff", "\\x1b[2J\n\\xff"),
    ],
)
def test_a_value_is_shown_as_it_was_sent(value, shown, capsys):
    """With indents only where nothing of it would be lost."""
    headers = (("dlq_error_code", b"InvalidCommand"), ("dlq_topic", b"wallet.commands"))

    print_letter(read_letter(command_record(value, headers)))

    assert capsys.readouterr().out.endswith(f"value, {len(value)} bytes:\n{shown}\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["replay"], 64, "which dead letters?"),
        (["replay", "0:1", "--all"], 64, "which dead letters?"),
        (["replay", "0-1"], 64, "expected PARTITION:OFFSET, such as 3:17"),
        (["show", "0:1"], 1, "there is no dead letter at 0:1"),
        (["list", "--code", "Unknown"], 64, "'Unknown' is not one of"),
    ],
)
def test_a_wrong_question_is_one_line(stack, arguments, exit_code, said):
    """64: it is wrong; 1: the answer is no."""
    done = wallex(stack.environment(), "dlq", *arguments)

    assert (done.returncode, done.stdout) == (exit_code, "")
    assert said in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["show", "0:0"], ["replay", "--all"]])
def test_kafka_being_away_is_one_line(stack, arguments):
    """No traceback, and where it was looked for."""
    away = stack.environment() | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    done = wallex(away, "dlq", *arguments)

    assert done.returncode == 1
    assert done.stderr == "wallex: Kafka at 127.0.0.1:1: no answer\n"

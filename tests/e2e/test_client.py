"""The client of an upstream service against a running worker: answers, rejections, and what is no answer."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from tests.support.commands import Record, new_id, odd_batch
from tests.support.replies import content, header
from tests.support.world import World, open_world
from worker.client import Accepted, ErrorCode, NotSent, OutcomeUnknown, Rejected, WalletClient, part
from worker.contracts.status import HoldStatus, WalletStatus
from worker.settings import Settings

PARTITIONS = 4
BRIEF_S = 0.5


@pytest.fixture(scope="module")
async def running(stack, tmp_path_factory):
    """A world in which a worker runs."""
    async with open_world(stack.environment(), tmp_path_factory.mktemp("client"), PARTITIONS) as world:
        await world.start("a").until_ready()
        yield world


def client_of(world: World, **options) -> WalletClient:
    return WalletClient(Settings.load(world.environment), **options)


async def new_wallet(wallets: WalletClient, balance: str = "100") -> str:
    wallet_id = new_id()
    assert isinstance(await wallets.create_wallet(wallet_id, "owner", initial_balance=balance), Accepted)
    return wallet_id


async def test_every_command_has_a_method_and_an_answer(running):
    """The thirteen commands of the contract, each once, with the wallet as it is afterwards."""
    source, target, paid, freed = new_id(), new_id(), new_id(), new_id()
    late = datetime.now(UTC) + timedelta(hours=1)
    async with client_of(running) as wallets:
        answers = [
            await wallets.create_wallet(
                source, "alice", currency="EUR", initial_balance="100", metadata={"tier": "gold"}
            ),
            await wallets.create_wallet(target, "bob", currency="EUR"),
            await wallets.credit(source, 20, reference="order-1"),
            await wallets.debit(source, Decimal("10.50"), currency="EUR", expected_version=1),
            await wallets.transfer(source, target, "9.50", metadata={"for": "tea"}, not_after=late),
            await wallets.place_hold(source, paid, "40", hold_type="ESCROW", expires_at=late),
            await wallets.capture_hold(source, paid, "30", to_wallet_id=target),
            await wallets.place_hold(source, freed, "5"),
            await wallets.release_hold(source, freed),
            await wallets.suspend_wallet(source, reason="checks"),
            await wallets.reactivate_wallet(source),
            await wallets.update_metadata(source, {"tier": None}),
            await wallets.atomic(part.debit(source, "70"), part.credit(target, "70")),
            await wallets.close_wallet(source),
        ]
        too_early = await wallets.expire_hold(target, paid)

    assert [answer for answer in answers if not isinstance(answer, Accepted)] == []
    assert [part.status for part in answers[-2].parts] == ["accepted", "accepted"]
    assert answers[6].hold.captured_amount == Decimal(30)
    assert answers[6].hold.status is HoldStatus.CAPTURED
    assert [wallet.balance for wallet in answers[-2].wallets] == [Decimal(0), Decimal("109.50")]
    assert answers[-1].wallets[0].status is WalletStatus.CLOSED
    assert isinstance(too_early, Rejected)
    assert too_early.code is ErrorCode.HOLD_NOT_FOUND


async def test_a_rejection_is_a_value(running):
    """Matched like any other answer, with what there is to act on."""
    async with client_of(running) as wallets:
        wallet_id = await new_wallet(wallets, "3")

        answer = await wallets.debit(wallet_id, "5")

    match answer:
        case Rejected(code=ErrorCode.INSUFFICIENT_FUNDS, details={"available": available}, wallets=[wallet]):
            assert available == "3.0000"
            assert wallet.available_balance == Decimal(3)
        case _:
            pytest.fail(f"no such rejection: {answer}")
    assert not answer.replayed


async def test_a_group_says_which_of_its_parts_refused(running):
    """None of its parts took effect."""
    async with client_of(running) as wallets:
        wallet_id = await new_wallet(wallets, "10")

        answer = await wallets.atomic(part.credit(wallet_id, 1), part.debit(wallet_id, "50"))

    assert isinstance(answer, Rejected)
    assert answer.details["index"] == 1
    assert [part.status for part in answer.parts] == ["accepted", "rejected"]
    assert answer.wallets[0].balance == Decimal(10)


async def test_an_unknown_outcome_is_asked_for_again_and_takes_effect_once(world):
    """No worker: nobody knows. The same command again, once there is one: its only effect, and its first reply."""
    async with client_of(world, timeout_s=BRIEF_S) as impatient:
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.5 s: the outcome of CreateWallet") as unknown:
            await new_wallet(impatient)
        wallet_id = unknown.value.command.wallet_id
        with pytest.raises(OutcomeUnknown) as credited:
            await impatient.credit(wallet_id, "5")
    world.start("a")

    async with client_of(world) as wallets:
        created = await wallets.send(unknown.value.command)
        again = await wallets.send(credited.value.command)
        conflict = await wallets.credit(wallet_id, "6", command_id=again.command_id)

    assert created.replayed
    assert again.replayed
    assert again.command_id == credited.value.command.command_id
    assert again.wallets[0].balance == Decimal(105)
    assert conflict.code is ErrorCode.IDEMPOTENCY_CONFLICT


async def test_two_clients_share_a_reply_topic(running):
    """Each gets its own answers, and passes over the other's."""
    async with client_of(running) as one, client_of(running) as two:
        first, second = await asyncio.gather(new_wallet(one), new_wallet(two))

        answers = await asyncio.gather(
            *[one.credit(first, 1) for _ in range(50)], *[two.credit(second, 1) for _ in range(50)]
        )

    assert [answer.wallets[0].wallet_id for answer in answers] == [first] * 50 + [second] * 50


async def test_a_reply_topic_of_ones_own(running):
    """Nothing but one's own answers is read there."""
    own = f"{running.reply_topic}.checkout"
    await running.create_topic(own)

    async with client_of(running, reply_topic=own) as wallets:
        wallet_id = await new_wallet(wallets)

    [record] = await (await running.topic(own)).to_end()
    assert record.key.decode() == wallet_id


async def test_foreign_and_broken_records_on_the_reply_topic_are_passed_over(running):
    """Null, binary and repeated headers are legal in Kafka, and none of them ends the reading."""
    broken = [
        [("correlation_id", None)],
        [("correlation_id", b"\xff\x00")],
        [("correlation_id", b"a"), ("correlation_id", None), ("", b"")],
        [],
    ]
    async with client_of(running) as wallets:
        for headers in broken:
            await running.producer.send_and_wait(running.reply_topic, b"\xff not a reply", b"key", headers=headers)

        answer = await wallets.credit(await new_wallet(wallets), 1)

    assert answer.wallets[0].balance == Decimal(101)


async def test_a_header_name_that_is_not_utf_8_ends_no_client(running):
    """A C or Go client writes one into the shared topic: its record is passed over, on whichever partition."""
    async with client_of(running) as wallets:
        wallet_id = await new_wallet(wallets)
        for partition in range(PARTITIONS):
            odd = odd_batch(running.producer, Record(b"key", b"not a reply"))
            await (await running.producer.send_batch(odd, running.reply_topic, partition=partition))

        answer = await wallets.credit(wallet_id, 1)

    assert answer.wallets[0].balance == Decimal(101)


async def test_replies_behind_a_batch_that_cannot_be_read_come_in(running):
    """The client goes on at the end of that partition, and tells whoever asks from then on."""
    async with client_of(running) as wallets:
        wallet_id = await new_wallet(wallets)
        [partition, *_] = {
            record.partition
            for record in await (await running.topic(running.reply_topic)).to_end()
            if record.key == wallet_id.encode()
        }
        at = TopicPartition(running.reply_topic, partition)
        state = wallets._exchange._consumer._subscription.subscription.assignment.state_value(at)
        # As `kafka_fetch` leaves it: a broker takes no corrupt batch.
        state.pause()
        state.unreadable = "CorruptRecordException"

        while at in wallets._exchange._consumer.paused():  # noqa: ASYNC110 - the reading task tells nobody
            await asyncio.sleep(0.01)
        answer = await wallets.credit(wallet_id, 1)

    assert answer.wallets[0].balance == Decimal(101)


async def test_a_reply_to_another_command_under_the_same_correlation_id_is_passed_over(world):
    """As an expiry's is under that of its `PlaceHold`."""
    async with client_of(world) as wallets:
        asked = asyncio.create_task(wallets.place_hold(new_id(), new_id(), 1))
        [command] = await (await world.topic(world.command_topic)).until_count(1)
        place = {"commandId": content(command)["commandId"], "type": "PlaceHold", "status": "accepted"}
        error = {"code": "HoldNotDue", "message": "", "details": {}}
        expire = {"commandId": new_id(), "type": "ExpireHold", "status": "rejected", "error": error}
        for reply in (expire, place):
            value = json.dumps({**reply, "processedAt": "2026-11-22T12:00:00Z", "wallets": []}).encode()
            headers = [("correlation_id", header(command, "correlation_id"))]
            await world.producer.send_and_wait(world.reply_topic, value, headers=headers, partition=0)

        answer = await asked

    assert isinstance(answer, Accepted)


async def test_a_reply_that_cannot_be_read_leaves_the_outcome_unknown(world):
    """Said at once, instead of after the time-out."""
    async with client_of(world) as wallets:
        asked = asyncio.create_task(wallets.credit(new_id(), 1))
        [command] = await (await world.topic(world.command_topic)).until_count(1)
        await world.producer.send_and_wait(
            world.reply_topic, b"{}", headers=[("correlation_id", header(command, "correlation_id"))]
        )

        with pytest.raises(OutcomeUnknown, match="the reply could not be read, Reply expected"):
            await asked


async def test_partitions_that_are_added_later_are_read(world):
    """From their beginning: a worker may know of them earlier than the client."""
    async with client_of(world) as wallets:
        asked = asyncio.create_task(wallets.credit(new_id(), 1))
        [command] = await (await world.topic(world.command_topic)).until_count(1)
        await world.add_partition(world.reply_topic)
        await world.producer.send_and_wait(
            world.reply_topic,
            b'{"commandId": null, "type": null, "status": "accepted", "processedAt": "2026-11-22T12:00:00Z",'
            b' "wallets": [], "addedLater": 1}',
            headers=[("correlation_id", header(command, "correlation_id"))],
            partition=PARTITIONS,
        )

        answer = await asked

    assert isinstance(answer, Accepted)


async def test_five_thousand_commands_are_in_flight_at_once(running):
    """Each gets its own answer, and each takes effect."""
    async with client_of(running, timeout_s=90) as wallets:
        ids = [await new_wallet(wallets, "0") for _ in range(4)]
        asked = [new_id() for _ in range(5_000)]

        answers = await asyncio.gather(
            *[wallets.credit(ids[number % 4], 1, command_id=id_) for number, id_ in enumerate(asked)]
        )
        last = [await wallets.debit(wallet_id, 1250) for wallet_id in ids]

    assert [answer.command_id for answer in answers] == asked
    assert all(isinstance(answer, Accepted) for answer in answers)
    assert [answer.wallets[0].balance for answer in last] == [Decimal(0)] * 4


async def test_a_topic_that_is_missing_is_said_at_the_start(world):
    """And it is not made: the broker would give it a single partition."""
    missing = f"{world.reply_topic}.missing"

    with pytest.raises(NotSent, match=f"there is no topic {missing}: `wallex worker` makes its own topics"):
        async with client_of(world, reply_topic=missing):
            pytest.fail("it opened")

    assert missing not in await world.admin.list_topics()


async def test_what_is_no_command_is_refused_before_anything_is_sent(world):
    """A float, a negative amount, a command that is too large."""
    async with client_of(world) as wallets:
        with pytest.raises(TypeError, match=r"never a float: 12\.5"):
            await wallets.credit(new_id(), 12.5)
        with pytest.raises(ValueError, match="DebitWallet: amount: "):
            await wallets.debit(new_id(), "-1")
        with pytest.raises(NotSent, match=r"Atomic has \d+ bytes, a command has at most 65536"):
            await wallets.atomic(*[part.credit(new_id(), 1, metadata={"note": "x" * 4000}) for _ in range(20)])

    assert await (await world.topic(world.command_topic)).to_end() == []


async def test_a_cancelled_request_is_forgotten(world):
    """Its answer, should it come, is nobody's."""
    async with client_of(world) as wallets:
        asked = asyncio.create_task(wallets.credit(new_id(), 1))
        await (await world.topic(world.command_topic)).until_count(1)

        asked.cancel()
        await asyncio.wait({asked})

        assert asked.cancelled()
        assert wallets._exchange._waiting == {}


async def test_closing_ends_what_is_in_flight(world):
    """With an error that says so; a closed client sends nothing."""
    async with client_of(world) as wallets:
        asked = asyncio.create_task(wallets.credit(new_id(), 1))
        await (await world.topic(world.command_topic)).until_count(1)

    with pytest.raises(OutcomeUnknown, match="the client is closed: the outcome of CreditWallet"):
        await asked
    with pytest.raises(NotSent, match="the client is not open"):
        await wallets.credit(new_id(), 1)


async def test_when_replies_cannot_be_read_any_more_everyone_is_told(world, monkeypatch):
    """Those who wait do not know; those who ask then have sent nothing."""

    async def refused(*_arguments, **_options):
        raise TopicAuthorizationFailedError(world.reply_topic)

    async with client_of(world) as wallets:
        asked = [asyncio.create_task(wallets.credit(new_id(), 1)) for _ in range(3)]
        await (await world.topic(world.command_topic)).until_count(3)
        monkeypatch.setattr(AIOKafkaConsumer, "getmany", refused)

        ends = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(end) for end in ends] == [OutcomeUnknown] * 3
        with pytest.raises(NotSent, match="cannot be read: TopicAuthorizationFailedError"):
            await wallets.credit(new_id(), 1)

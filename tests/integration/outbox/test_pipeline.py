"""What the pipeline asks of the append: what was not acknowledged, and nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from structlog.testing import capture_logs

from tests.support.commands import create_wallet, credit, new_id
from worker.contracts.envelope import Envelope
from worker.inbox.answered import Answered, Batch
from worker.inbox.partitions import Partition
from worker.inbox.pipeline import Pipeline
from worker.ledger.decide_batch import Outcome
from worker.outbox import append

LOOKS = 100
"""At the committed offsets, while everything else that can go on does."""


class Published:
    """Takes messages in Kafka's place."""

    def __init__(self) -> None:
        self.messages: list = []

        self.refused: dict[int, str] = {}

    async def deliver(self, messages: Sequence) -> dict[int, str]:
        self.messages += messages
        return self.refused


class Consumer:
    """Takes commits and pauses in Kafka's place."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self.paused: list[TopicPartition] = []

    async def commit(self, offsets: dict) -> None:
        self.committed |= {partition: offset for partition, (offset, _) in offsets.items()}

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused += partitions


class Line:
    """A pipeline whose store is real, and which commands run through, batch by batch, as from one partition."""

    def __init__(self, book) -> None:
        self.book = book
        self.consumer = Consumer()
        self.published = Published()
        self.partition = Partition(TopicPartition("commands", 0), 0)
        self.offset = 0
        self.pipeline = Pipeline(book.store, book.engine, self.published, lambda: self.consumer, book.metrics, "dlq")
        self.running = asyncio.create_task(self.pipeline.run())

    async def take(self, *transactions: Sequence[dict]) -> None:
        """Commit a batch of commands, in one transaction or several, and wait until it is answered."""
        commands = [command for transaction in transactions for command in transaction]
        outcomes = [outcome for transaction in transactions for outcome in await self.book.commit(transaction)]
        await self.hand_over(commands, outcomes)

    async def hand_over(self, commands: Sequence[dict], outcomes: Sequence[Outcome]) -> None:
        """Have a batch that was committed answered, and wait until it is."""
        answered = []
        for command, outcome in zip(commands, outcomes, strict=True):
            record = _record(self.offset)
            self.offset += 1
            answered.append(
                Answered(self.partition, record, Envelope("replies"), command["commandId"], command["type"], outcome)
            )
        await self.pipeline.put(Batch(answered, {}))
        await self.pipeline.drained()

    def restart(self) -> None:
        """Forget what was acknowledged, as a new process has."""
        self.pipeline.appender.acknowledged.clear()
        self.book.store.calls.clear()

    @property
    def calls(self) -> list[list[int]]:
        """The versions in each call's runs."""
        return [sorted(run.last for run in call) for call in self.book.store.calls]


def _record(offset: int) -> ConsumerRecord:
    return ConsumerRecord("commands", 0, offset, 0, 0, b"key", b"{}", None, 3, 2, ())


@pytest.fixture
async def line(book) -> AsyncIterator[Line]:
    line = Line(book)
    yield line
    line.running.cancel()
    await asyncio.gather(line.running, return_exceptions=True)


async def test_a_batch_is_appended_answered_and_committed(line):
    """Events in their streams, a reply for each record, the offset behind the last."""
    wallet_id = new_id()

    await line.take([create_wallet(wallet_id), credit(wallet_id), credit(new_id())])

    assert await line.book.differing([wallet_id]) == []
    assert len(line.published.messages) == 3
    assert line.consumer.committed == {line.partition.id: 3}


async def test_no_offset_is_committed_before_kafka_has_the_replies(line, monkeypatch):
    """Kafka does not have them for a while: what the offset says is answered would be lost with this process."""
    deliver, committed = line.published.deliver, []

    async def slowly(messages: Sequence) -> dict[int, str]:
        for _ in range(LOOKS):
            committed.append(dict(line.consumer.committed))
            await asyncio.sleep(0)
        return await deliver(messages)

    monkeypatch.setattr(line.published, "deliver", slowly)

    await line.take([create_wallet(new_id())])

    assert committed == [{}] * LOOKS
    assert len(line.published.messages) == 1
    assert line.consumer.committed == {line.partition.id: 1}


async def test_a_duplicate_in_the_same_batch_costs_no_call_and_no_wait(line):
    """What is repeated of this very batch is on its way anyway."""
    wallet_id = new_id()
    create, first, second = create_wallet(wallet_id), credit(wallet_id), credit(wallet_id)

    await line.take([create, first, second, second, first, create])

    assert line.calls == [[2]]
    assert len(line.published.messages) == 6
    assert await line.book.differing([wallet_id]) == []


async def test_a_batch_of_two_transactions_leaves_room_for_another_workers_between_them(line):
    """Ours are versions 1 and 3, the other's is 2: each event ends at the revision that is its version."""
    wallet_id = new_id()
    await line.take([create_wallet(wallet_id)])
    ours, others = [credit(wallet_id), credit(wallet_id)], credit(wallet_id)
    first = await line.book.commit(ours[:1])
    (other,) = await line.book.runs([others])
    second = await line.book.commit(ours[1:])

    await asyncio.gather(line.hand_over(ours, [*first, *second]), line.book.append([other]))

    assert await line.book.differing([wallet_id]) == []


async def test_what_another_worker_ran_behind_our_events_is_in_the_stream_before_its_repeat_is_answered(line):
    """A batch was halved; a command of its second half had run elsewhere, behind our first: it is asked for, too."""
    wallet_id = new_id()
    await line.take([create_wallet(wallet_id)])
    ours, others = credit(wallet_id), credit(wallet_id)
    first = await line.book.commit([ours])
    await line.book.commit([others])
    repeated = await line.book.commit([others])

    await line.hand_over([ours, others], [*first, *repeated])

    assert await line.book.differing([wallet_id]) == []
    assert len(line.published.messages) == 3


async def test_a_duplicate_of_what_this_process_saw_acknowledged_is_not_asked_for(line):
    """Acknowledged once is enough."""
    wallet_id = new_id()
    create, first = create_wallet(wallet_id), credit(wallet_id)
    await line.take([create, first])
    line.book.store.calls.clear()

    await line.take([first, create])

    assert line.calls == []
    assert len(line.published.messages) == 4


async def test_after_a_restart_repeated_commands_are_proven_once(line):
    """A process that saw nothing acknowledged asks for the highest event of each wallet, in a call of its own."""
    one, other = new_id(), new_id()
    commands = [create_wallet(one), create_wallet(other), credit(one), credit(one), credit(other)]
    await line.take(commands)
    line.restart()

    await line.take([*commands, credit(one)])
    await line.take(commands)

    assert line.calls == [[1, 2], [3]]
    assert await line.book.differing([one, other]) == []


async def test_a_batch_that_was_committed_and_never_appended_comes_back_with_new_commands(line, monkeypatch):
    """A worker died after its commit: the events are made from the ledger, then the new ones follow."""
    monkeypatch.setattr(append, "BEHIND_PATIENCE_S", 0.1)
    wallet_ids = [new_id() for _ in range(30)]
    lost = [command for id_ in wallet_ids for command in (create_wallet(id_), credit(id_))]
    await line.book.commit(lost)

    await line.take([*lost, *[credit(id_) for id_ in wallet_ids], *lost])

    assert await line.book.differing(wallet_ids) == []
    assert len(line.published.messages) == 30 * 5
    assert line.consumer.committed == {line.partition.id: 30 * 5}


async def test_what_a_contradiction_leaves_unanswered_is_a_dead_letter_and_its_partition_goes_on(line):
    """It took effect in Postgres, so it may not be answered as refused, nor as accepted without its events."""
    wrong, right = new_id(), new_id()
    await line.book.append_foreign(wrong, 1)

    await line.take([create_wallet(right), create_wallet(wrong), credit(right)])

    assert [message.topic for message in line.published.messages] == ["replies", "dlq", "replies"]
    assert ("dlq_error_code", b"WalletQuarantined") in line.published.messages[1].headers
    assert line.consumer.paused == []
    assert line.consumer.committed == {line.partition.id: 3}
    assert await line.book.differing([right, wrong]) == [wrong]


async def test_what_no_topic_takes_stops_its_partition_and_says_why(line):
    """A reply that can never be published is not left out: its offset is kept, for a person to see to the topic."""
    line.published.refused = {1: "replies does not take it: TopicAuthorizationFailedError"}

    with capture_logs() as logs:
        await line.take([create_wallet(new_id()) for _ in range(3)])

    assert len(line.published.messages) == 3
    assert line.consumer.paused == [line.partition.id]
    assert line.consumer.committed == {line.partition.id: 1}
    assert line.partition.stopped_why == "replies does not take it: TopicAuthorizationFailedError"
    assert [one["why"] for one in logs if one["event"] == "partition_stopped"] == [line.partition.stopped_why]


async def test_a_stage_that_is_cancelled_by_nobody_ends_the_whole_pipeline(line, monkeypatch):
    """It would be filled, and nothing would come out of it: whoever runs it must be told."""

    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Pipeline, "_commit", cancelled)

    taking = asyncio.create_task(line.take([create_wallet(new_id())]))
    await asyncio.wait({line.running}, timeout=10)
    taking.cancel()

    assert line.running.cancelled() and not line.running.cancelling()

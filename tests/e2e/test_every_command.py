"""Each command of the contract, and each refusal, goes its whole way: over Kafka, into every store, back as a reply.

All stories of `scenarios.py` are told at once to one worker with one projector; then each is looked at by itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from aiokafka import ConsumerRecord

from tests.integration.kurrentdb.standin import start_standin
from tests.support.commands import record_of
from tests.support.documents import Documents, projecting
from tests.support.invariants import Books, check
from tests.support.ledger import fail_one_command, until_over
from tests.support.model import Model, time_of
from tests.support.model_reply import answer, comparable
from tests.support.replies import REFUSED_UNSTORED, Topic, code, content
from tests.support.scenarios import FOREVER, SCENARIOS, SPOILT, Scenario, Step
from tests.support.world import World, open_world
from worker.contracts.commands import COMMAND_TYPES
from worker.contracts.events import EventType
from worker.contracts.replies import ErrorCode

PARTITIONS = 4
SOON = timedelta(seconds=4)
"""Holds that are to expire must be placed within this time."""
NOT_RUN = REFUSED_UNSTORED | {"InternalError"}


@dataclass(frozen=True)
class Told:
    """What came of the stories."""

    scenarios: dict[str, Scenario]
    replies: dict[str, list[ConsumerRecord]]
    books: Books
    dead_letters: list[ConsumerRecord]
    documents: Documents


@pytest.fixture(scope="module")
async def told(stack, tmp_path_factory) -> AsyncIterator[Told]:
    """Tell all stories, each in a partition, to one worker that has started."""
    folder = tmp_path_factory.mktemp("every_command")
    kurrentdb = await start_standin(folder / "kurrentdb")
    try:
        async with (
            open_world(stack.environment() | {"KURRENTDB_URI": kurrentdb.uri}, folder, PARTITIONS) as world,
            projecting(world) as documents,
            fail_one_command(world.environment, SPOILT),
        ):
            replies = await world.topic(world.reply_topic)
            worker = world.start("a")
            await worker.until_ready()
            soon = datetime.now(UTC) + SOON
            scenarios = {name: make(soon.isoformat()) for name, make in SCENARIOS.items()}
            first = await tell(world, replies, scenarios, later=False)
            await until_over(world.environment, soon)
            then = await tell(world, replies, scenarios, later=True)
            assert await worker.stop() == 0
            dead_letters = await (await world.topic(world.dlq_topic)).to_end()
            answers = {name: first[name] + then[name] for name in scenarios}
            yield Told(scenarios, answers, await check(world, replies), dead_letters, documents)
    finally:
        await kurrentdb.stop()


async def tell(
    world: World, replies: Topic, scenarios: dict[str, Scenario], *, later: bool
) -> dict[str, list[ConsumerRecord]]:
    """Send the steps whose time it is; return the replies of each story."""
    sent = {}
    for place, (name, scenario) in enumerate(scenarios.items()):
        records = [
            record_of(step.command, *step.headers, partition=place % PARTITIONS)
            for step in scenario.steps
            if step.later == later
        ]
        sent[name] = await world.send(records)
    return {name: await replies.until_answered(ids) for name, ids in sent.items()}


def events_of(step: Step, books: Books) -> tuple[str, ...]:
    """The types of the events that a command made, in order, as they stand in the streams."""
    rows = books.commands.get(step.command["commandId"], [])
    made = [place for row in rows for place in zip(row["event_wallet_ids"], row["event_versions"], strict=True)]
    return tuple(books.streams[str(wallet_id)][version].type for wallet_id, version in made)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_each_command_is_answered_and_makes_the_events_of_the_contract(told, name):
    """Accepted with these events, or refused with this code and none; each reply is the model's, or a repeated one."""
    scenario, model, ran = told.scenarios[name], Model(), {}

    for step, reply in zip(scenario.steps, told.replies[name], strict=True):
        id_ = step.command["commandId"]
        assert code(reply) == step.code, (step, reply)
        if id_ in ran:
            assert step.code is not None or reply.value == ran[id_].value
            continue
        assert events_of(step, told.books) == step.events
        if step.code not in NOT_RUN:
            ran[id_] = reply
            model.now = time_of(content(reply)["processedAt"]) or model.now
            assert comparable(content(reply)) == answer(model, step.command)
    for wallet_id, (status, balance, held) in scenario.ends.items():
        row = told.books.wallets[wallet_id]
        assert (row["status"], row["balance"], row["held_balance"]) == (status, Decimal(balance), Decimal(held))


async def test_rows_streams_replies_and_documents_agree(told):
    """For every wallet: the fold of its stream, the fold of its ledger, its rows and its documents are equal."""
    await told.documents.check(told.books)


async def test_what_failed_for_no_fault_of_its_own_is_a_dead_letter(told):
    """One, with its bytes; what was refused for a reason is none."""
    assert [json.loads(letter.value)["commandId"] for letter in told.dead_letters] == [SPOILT]


async def test_no_command_no_event_and_no_error_code_is_left_out():
    """Each type of the contract is accepted somewhere, each event is made, each code is given."""
    steps = [step for make in SCENARIOS.values() for step in make(FOREVER).steps]

    assert {step.command["type"] for step in steps if step.code is None} == {one.__name__ for one in COMMAND_TYPES}
    assert {event for step in steps for event in step.events} == set(EventType)
    # A quarantine is told of in `test_held_up.py`: it takes a stream that contradicts the ledger.
    assert {step.code for step in steps if step.code is not None} == set(ErrorCode) - {ErrorCode.WALLET_QUARANTINED}

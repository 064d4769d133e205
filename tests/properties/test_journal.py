"""The ledger as journal: an event that is made again from its row is the event that was made first, byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.commands import new_id
from tests.support.ledger import engine_of
from tests.support.postgres import migrated_database
from tests.support.received import received
from worker.contracts.events import EventType
from worker.database import raw_transaction
from worker.ledger.decide_batch import decide_batch
from worker.ledger.lock import read_clock
from worker.ledger.persist import persist
from worker.outbox.backfill import load_proofs, load_runs
from worker.outbox.run import Run, runs_of

# What may stand in a text: all but U+0000 and halves of characters, which the inbox refuses.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
metadata = st.none() | st.dictionaries(texts, json_values, max_size=3)
amounts = st.integers(1, 10**18).map(lambda minor: f"{minor // 10_000}.{minor % 10_000:04}")
small = st.integers(1, 10**4).map(lambda minor: f"{minor // 10_000}.{minor % 10_000:04}")
around = st.fixed_dictionaries({}, optional={"reference": st.none() | texts, "metadata": metadata})
headers = st.lists(
    st.tuples(
        st.sampled_from(["correlation_id", "kafka_correlationId"]), st.binary(max_size=16) | texts.map(str.encode)
    )
    | st.just(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
    max_size=2,
)


@pytest.fixture
async def engine(stack) -> AsyncIterator[AsyncEngine]:
    async with migrated_database(stack.environment()) as environment, engine_of(environment) as engine:
        yield engine


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_what_is_made_again_from_the_ledger_equals_what_was_made_first(engine, data):
    """Data and metadata of each type of event, whatever its command said: no stream ever sees two versions of it."""
    a, b = new_id(), new_id()
    owner = data.draw(texts.filter(bool))
    fields = [
        {"type": "CreateWallet", "walletId": a, "ownerId": owner, "initialBalance": data.draw(amounts)},
        {"type": "CreateWallet", "walletId": b, "ownerId": owner, "currency": "USD"},
        {"type": "CreditWallet", "walletId": a, "amount": data.draw(amounts)},
        {"type": "Transfer", "fromWalletId": a, "toWalletId": b, "amount": data.draw(small)},
        {"type": "DebitWallet", "walletId": a, "amount": "0.0001"},
    ]
    batch = [
        received({"commandId": new_id(), **data.draw(around), **command}, data.draw(headers)) for command in fields
    ]

    async with raw_transaction(engine) as connection:
        decided = decide_batch(batch, {}, {}, await read_clock(connection))
        await persist(connection, decided)
    first = {run.wallet_id: run for run in runs_of(event for outcome in decided.outcomes for event in outcome.events)}
    again = await load_runs(engine, {id_: (run.first, run.last) for id_, run in first.items()})
    proofs = await load_proofs(engine, {id_: run.last for id_, run in first.items()})

    made = {event.type for run in first.values() for event in run.events}
    assert made >= {EventType.WALLET_CREATED, EventType.WALLET_CREDITED}
    assert again == first
    assert {proof.wallet_id: proof for proof in proofs} == {id_: run.proof() for id_, run in first.items()}


async def test_every_type_of_event_comes_back_from_the_ledger(engine):
    """Later events carry the wallet's metadata of its creation, and times to the microsecond."""
    a, b = new_id(), new_id()
    steps = [
        [
            {
                "type": "CreateWallet",
                "walletId": a,
                "ownerId": "o",
                "initialBalance": "10",
                "metadata": {"z": 1, "a": 1.0},
            },
            {"type": "CreateWallet", "walletId": b, "ownerId": "o", "metadata": {}},
        ],
        [
            {"type": "CreditWallet", "walletId": a, "amount": "5", "metadata": {"b": 1, "a": 2}, "reference": ""},
            {"type": "Transfer", "fromWalletId": a, "toWalletId": b, "amount": "2.5", "reference": "r"},
            {"type": "DebitWallet", "walletId": a, "amount": "1", "metadata": {}},
        ],
    ]
    wallets, events = {}, []
    for step in steps:
        async with raw_transaction(engine) as connection:
            now = await read_clock(connection) + timedelta(microseconds=1)
            batch = [received({"commandId": new_id(), **command}) for command in step]
            decided = decide_batch(batch, wallets, {}, now)
            await persist(connection, decided)
        wallets = decided.wallets
        events += [event for outcome in decided.outcomes for event in outcome.events]

    again = await load_runs(engine, {a: (0, 3), b: (0, 1)})

    assert {event.type for event in events} == set(EventType)
    assert list(again.values()) == [Run(id_, [event for event in events if event.wallet_id == id_]) for id_ in again]
    assert {json.dumps(json.loads(event.data)["walletMetadata"]) for event in again[a].events} == {'{"z": 1, "a": 1.0}'}

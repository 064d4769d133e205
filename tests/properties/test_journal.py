"""The ledger as journal: an event that is made again from its row is the event that was made first, byte for byte."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import commands as say
from tests.support.commands import Command, new_id
from tests.support.ledger import run
from tests.support.received import received
from worker.contracts.events import EventType
from worker.contracts.status import HoldType
from worker.database import raw_transaction
from worker.domain.wallet import Book
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
objects = st.dictionaries(texts, json_values, max_size=3)
amounts = st.integers(1, 10**18).map(lambda minor: f"{minor // 10_000}.{minor % 10_000:04}")
small = st.integers(1, 10**4).map(lambda minor: f"{minor // 10_000}.{minor % 10_000:04}")
around = st.fixed_dictionaries({}, optional={"reference": st.none() | texts, "metadata": st.none() | objects})
headers = st.lists(
    st.tuples(
        st.sampled_from(["correlation_id", "kafka_correlationId"]), st.binary(max_size=16) | texts.map(str.encode)
    )
    | st.just(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
    max_size=2,
)


def every_type(data: st.DataObject, a: str, b: str, now: datetime) -> list[Command]:
    """Commands that all pass, and make an event of each type; around each of them whatever may be said."""
    whole, part, ended, closed = new_id(), new_id(), new_id(), new_id()
    owner, reason = data.draw(texts.filter(bool)), data.draw(texts)
    commands = [
        {**say.create_wallet(a, data.draw(amounts)), "ownerId": owner},
        {**say.create_wallet(b, "0"), "ownerId": owner, "currency": "USD"},
        say.credit(a, data.draw(amounts)),
        say.credit(a, "100"),
        say.transfer(a, b, data.draw(small)),
        say.debit(a, "0.0001"),
        say.place_hold(a, whole, data.draw(small), holdType=data.draw(st.sampled_from(list(HoldType)))),
        say.capture_hold(a, whole),
        say.place_hold(a, part, "2", expiresAt=(now + timedelta(days=1)).isoformat()),
        say.capture_hold(a, part, amount=data.draw(small), toWalletId=b),
        say.place_hold(a, ended, "0.0001", expiresAt=now.isoformat()),
        say.expire_hold(a, ended),
        say.suspend_wallet(a, reason=reason),
        say.reactivate_wallet(a, reason=reason),
        say.update_metadata(a, data.draw(objects)),
        say.create_wallet(closed, "0"),
        say.close_wallet(closed),
    ]
    held = new_id()
    group = [say.place_hold(b, held, "0.0001"), say.release_hold(b, held), say.update_metadata(b, data.draw(objects))]
    given = [{**data.draw(around), **command} for command in (*commands, say.atomic(*group))]
    return [
        *given,
        say.atomic(*({**data.draw(around), **one} for one in (say.credit(a), say.debit(a))), **data.draw(around)),
    ]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_what_is_made_again_from_the_ledger_equals_what_was_made_first(engine, data):
    """Data and metadata of each type of event, whatever its command said: no stream ever sees two versions of it."""
    a, b = new_id(), new_id()

    async with raw_transaction(engine) as connection:
        now = await read_clock(connection)
        batch = [received(command, data.draw(headers)) for command in every_type(data, a, b, now)]
        decided = decide_batch(batch, Book({}, {}), {}, now)
        await persist(connection, decided)
    assert [outcome.error_code for outcome in decided.outcomes] == [None] * len(batch)
    first = {run.wallet_id: run for run in runs_of(event for outcome in decided.outcomes for event in outcome.events)}
    again = await load_runs(engine, {id_: (run.first, run.last) for id_, run in first.items()})
    proofs = await load_proofs(engine, {id_: run.last for id_, run in first.items()})

    assert {event.type for run in first.values() for event in run.events} == set(EventType)
    assert again == first
    assert {proof.wallet_id: proof for proof in proofs} == {id_: run.proof() for id_, run in first.items()}


async def test_an_event_carries_the_metadata_that_its_wallet_had_then(engine):
    """Made again, it has that of its own time, whatever came later; and times to the microsecond."""
    a, hold = new_id(), new_id()
    steps = [
        [say.create_wallet(a, "10", metadata={"z": 1, "a": 1.0})],
        [say.credit(a, metadata={"b": 1, "a": 2}, reference=""), say.place_hold(a, hold, "2", metadata={"h": 1})],
        [say.update_metadata(a, {"z": None, "c": "é"}), say.capture_hold(a, hold), say.debit(a)],
        [say.atomic(say.update_metadata(a, {"a": None, "c": None}), say.credit(a), metadata={"g": 1})],
    ]

    outcomes = [outcome for step in steps for outcome in await run(engine, *step)]
    events = [event for outcome in outcomes for event in outcome.events]
    again = await load_runs(engine, {a: (0, 7)})

    assert again == {a: Run(a, events)}
    assert [json.dumps(json.loads(event.data)["walletMetadata"], ensure_ascii=False) for event in events] == [
        *['{"z": 1, "a": 1.0}'] * 3,
        *['{"a": 1.0, "c": "é"}'] * 3,
        *["{}"] * 2,
    ]
    assert [json.loads(event.data).get("metadata") for event in events[-2:]] == [{"g": 1}] * 2

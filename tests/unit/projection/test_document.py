"""Events to documents: what each event makes, and that the last event of a document is all that counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import capture_hold, create_wallet, new_id, place_hold, release_hold
from tests.support.memory_ledger import MemoryLedger
from tests.support.projection import as_recorded, decided, wallet_events
from worker.contracts.schemas.examples.events_holds import CAPTURED, EXPIRED, PLACED, RELEASED
from worker.projection.document import (
    UnreadableEvent,
    apply,
    hold_document,
    hold_key,
    last_of_each,
    read_event,
    statement_document,
    statement_key,
    wallet_document,
    wallet_key,
)
from worker.projection.index import HOLDS, PROJECTIONS

WALLET = "0f0e0d0c-0b0a-4908-8706-050403020100"
HOLD = {
    "holdId": "the-hold",
    "status": "CAPTURED",
    "type": "ESCROW",
    "amount": "30.0000",
    "capturedAmount": "12.5000",
    "createdAt": "2026-11-22T11:30:00.000000Z",
    "updatedAt": "2026-11-22T12:00:00.000001Z",
}
STATE = {
    "ownerId": "owner-1",
    "currency": "EUR",
    "status": "ACTIVE",
    "balance": "87.5000",
    "heldBalance": "7.2501",
    "walletMetadata": {"plan": "gold"},
    "createdAt": "2026-11-22T11:00:00.000000Z",
}


def an_event(event_type: str = "WalletCredited", revision: int = 3, **facts):
    """An event written by hand, as the contract describes it."""
    data = {"walletId": WALLET, "version": revision, "occurredAt": "2026-11-22T12:00:00.000001Z", **STATE, **facts}
    return as_recorded_by_hand(event_type, revision, json.dumps(data).encode())


def as_recorded_by_hand(event_type: str, revision: int, data: bytes):
    """The recorded event with these bytes as data."""
    event = as_recorded(wallet_events(["1"]))[0]
    metadata = json.dumps({"$causationId": "the-command", "$correlationId": "the-caller", "$schema.name": "x"}).encode()
    return event._replace(
        type=event_type, stream=f"wallet-{WALLET}", revision=revision, data=data, metadata=metadata, id="the-event"
    )


def test_a_wallets_document_is_the_state_after_its_event():
    """`wallets`: the wallet as it is now; money as exact text, with ten-thousandths beside it."""
    document = wallet_document(read_event(an_event(amount="12.5000")))

    assert document == {
        "walletId": WALLET,
        "version": 3,
        "ownerId": "owner-1",
        "currency": "EUR",
        "status": "ACTIVE",
        "balance": "87.5000",
        "balanceMinor": 875000,
        "heldBalance": "7.2501",
        "heldBalanceMinor": 72501,
        "availableBalance": "80.2499",
        "availableBalanceMinor": 802499,
        "metadata": {"plan": "gold"},
        "createdAt": "2026-11-22T11:00:00.000000Z",
        "updatedAt": "2026-11-22T12:00:00.000001Z",
    }


def test_a_statements_line_is_what_moved_and_the_balances_after_it():
    """`wallet-ledger`: the facts, where they came from, and the state that a statement shows."""
    event = an_event(
        amount="12.5000",
        counterpartyWalletId="other",
        transferId="the-transfer",
        groupId="the-group",
        hold={"holdId": "the-hold"},
        reference="invoice 7",
        metadata={"a": [1]},
    )

    document = statement_document(read_event(event))

    assert document == {
        "walletId": WALLET,
        "eventId": "the-event",
        "version": 3,
        "eventType": "WalletCredited",
        "amount": "12.5000",
        "amountMinor": 125000,
        "balance": "87.5000",
        "balanceMinor": 875000,
        "heldBalance": "7.2501",
        "heldBalanceMinor": 72501,
        "availableBalance": "80.2499",
        "availableBalanceMinor": 802499,
        "currency": "EUR",
        "ownerId": "owner-1",
        "counterpartyWalletId": "other",
        "transferId": "the-transfer",
        "groupId": "the-group",
        "holdId": "the-hold",
        "reference": "invoice 7",
        "metadata": {"a": [1]},
        "commandId": "the-command",
        "correlationId": "the-caller",
        "occurredAt": "2026-11-22T12:00:00.000001Z",
    }


def test_a_holds_document_is_the_hold_after_its_event():
    """`wallet-holds`: the hold as it is now, under its wallet's version, with whose it is; what it lacks is null."""
    ended = {"capturedAt": "2026-11-22T12:00:00.000001Z", "expiresAt": "2026-11-29T12:00:00.000000Z"}
    texts = {"reference": "order 7", "metadata": {"terminal": 12}}

    bare = hold_document(read_event(an_event("HoldCaptured", amount="12.5000", hold=HOLD)))
    full = hold_document(read_event(an_event("HoldCaptured", amount="12.5000", hold={**HOLD, **ended, **texts})))

    assert bare == {
        "holdId": "the-hold",
        "walletId": WALLET,
        "version": 3,
        "ownerId": "owner-1",
        "currency": "EUR",
        "status": "CAPTURED",
        "type": "ESCROW",
        "amount": "30.0000",
        "amountMinor": 300000,
        "capturedAmount": "12.5000",
        "capturedAmountMinor": 125000,
        "reference": None,
        "metadata": None,
        "expiresAt": None,
        "releasedAt": None,
        "capturedAt": None,
        "createdAt": "2026-11-22T11:30:00.000000Z",
        "updatedAt": "2026-11-22T12:00:00.000001Z",
    }
    assert full == bare | ended | texts


@pytest.mark.parametrize(
    ("event_type", "data"),
    [("HoldPlaced", PLACED), ("HoldReleased", RELEASED), ("HoldCaptured", CAPTURED), ("HoldExpired", EXPIRED)],
)
def test_every_event_of_a_hold_makes_its_whole_document(event_type, data):
    """Each carries the whole hold, so that its document has every mapped field whichever event came last."""
    event = read_event(an_event(**{"event_type": event_type, "revision": data["version"], **data, "walletId": WALLET}))

    assert hold_key(event) == data["hold"]["holdId"]
    assert hold_document(event).keys() == HOLDS.properties.keys()
    assert hold_document(event)["status"] == data["hold"]["status"]


def test_what_changes_no_hold_makes_no_document_of_one():
    """A credit beside a hold leaves the hold's document alone."""
    assert hold_key(read_event(an_event(amount="1.0000"))) is None


@pytest.mark.parametrize(
    ("event_type", "facts", "is_a_line"),
    [
        ("WalletCreated", {"initialBalance": "0.0001"}, True),
        ("WalletCreated", {"initialBalance": "0.0000"}, False),
        ("WalletCredited", {"amount": "1.0000"}, True),
        ("WalletDebited", {"amount": "1.0000"}, True),
        ("HoldPlaced", {"amount": "1.0000"}, True),
        ("HoldReleased", {"amount": "1.0000"}, True),
        ("HoldCaptured", {"amount": "1.0000"}, True),
        ("HoldExpired", {"amount": "1.0000"}, True),
        ("WalletSuspended", {"reason": "asked"}, False),
        ("WalletReactivated", {}, False),
        ("WalletClosed", {}, False),
        ("WalletMetadataUpdated", {}, False),
    ],
)
def test_only_what_moves_or_reserves_money_is_a_line(event_type, facts, is_a_line):
    """A statement has a line for each event that moved or reserved money, and for no other."""
    event = read_event(an_event(event_type, 0 if event_type == "WalletCreated" else 3, **facts))

    assert statement_key(event) == ("the-event" if is_a_line else None)
    assert wallet_key(event) == WALLET


def test_the_money_that_a_wallet_was_opened_with_is_its_first_line():
    """`WalletCreated` calls its amount `initialBalance`."""
    event = read_event(an_event("WalletCreated", 0, initialBalance="87.5000"))

    assert statement_document(event)["amountMinor"] == 875000


@pytest.mark.parametrize("balance", ["900000000000000.0000", "0.0001", "0.0000", "123456789012345.6789"])
def test_money_is_exact_at_every_size(balance):
    """The largest balance fits 64 bits, and no amount passes through a float."""
    document = wallet_document(read_event(an_event(balance=balance, heldBalance="0.0000")))

    assert document["availableBalance"] == balance
    assert document["availableBalanceMinor"] == int(balance.replace(".", ""))
    assert document["availableBalanceMinor"] < 2**63


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        json.dumps({"walletId": WALLET, "version": 4}).encode(),
        json.dumps({"walletId": WALLET, "version": 3}).encode(),
        json.dumps({"walletId": WALLET, "version": 3, "occurredAt": 7}).encode(),
        json.dumps({"walletId": WALLET, "version": 3, "occurredAt": "2026-11-22T12:00:00"}).encode(),
        json.dumps({"walletId": "another", "version": 3, "occurredAt": "2026-11-22T12:00:00Z"}).encode(),
    ],
)
def test_data_that_are_not_this_events_are_refused_by_name(data):
    """What stands in a wallet's stream and cannot be read, or speaks of another place, is named and never guessed."""
    with pytest.raises(UnreadableEvent, match=f"event the-event, revision 3 of wallet-{WALLET}"):
        read_event(as_recorded_by_hand("WalletCredited", 3, data))


@pytest.mark.parametrize(("event_type", "revision"), [("WalletCreated", 3), ("WalletCredited", 0)])
def test_a_wallet_is_created_at_its_first_revision_alone(event_type, revision):
    """Who appends to an empty stream, or creates a wallet again, is not the worker."""
    with pytest.raises(UnreadableEvent, match="revision 0 and nowhere else"):
        read_event(an_event(event_type, revision, amount="1.0000", initialBalance="1.0000"))


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        (wallet_document, {"balance": "87.5"}),
        (wallet_document, {"balance": 87.5}),
        (wallet_document, {"balance": None}),
        (statement_document, {}),
        (statement_key, {"amount": "12"}),
        (hold_key, {"event_type": "HoldPlaced"}),
        (hold_document, {"hold": {**HOLD, "capturedAmount": "12.5"}}),
    ],
)
def test_an_event_that_lacks_its_facts_is_refused_by_name(function, facts):
    """Money has four places in every event, and a hold's event the hold; nothing is rounded, completed or left out."""
    event = read_event(an_event(**facts))

    with pytest.raises(UnreadableEvent, match=f"revision 3 of wallet-{WALLET}"):
        apply(function, event)


def test_every_field_of_a_document_is_mapped():
    """The mappings are strict: a field that they don't name would be refused for every event."""
    event = read_event(an_event(amount="1.0000", hold=HOLD))

    for projection in PROJECTIONS:
        assert set(projection.document(event)) == set(projection.properties)


@given(st.data())
def test_the_last_event_of_each_document_equals_all_of_them_in_order(data):
    """However a log is cut into batches, and from wherever it is followed again, the documents end the same."""
    streams = [
        wallet_events(["10", *["1.5"] * length]) for length in data.draw(st.lists(st.integers(0, 5), min_size=1))
    ]
    streams.append(hold_events())
    order = data.draw(st.permutations([place for place, stream in enumerate(streams) for _ in stream]))
    rest = [iter(as_recorded(stream)) for stream in streams]
    log = [read_event(next(rest[place])) for place in order]
    again = data.draw(st.integers(0, len(log)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)))))

    one_by_one = written([[event] for event in log])
    in_batches = written([log[start:end] for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True)])
    redelivered = written([log, log[again:]])

    assert in_batches == one_by_one
    assert redelivered == one_by_one


def hold_events():
    """A wallet with two holds, of which one is captured and one released."""
    wallet, first, second = new_id(), new_id(), new_id()
    placed = [create_wallet(wallet), place_hold(wallet, first, "5"), place_hold(wallet, second, "7")]
    return decided(MemoryLedger(), *placed, capture_hold(wallet, first, amount="2"), release_hold(wallet, second))


def written(batches):
    """What an index with external versions holds after `batches`: a newer version replaces, an older one is refused."""
    index = {}
    for projection in PROJECTIONS:
        for batch in batches:
            for key, event in last_of_each(projection.key, batch).items():
                if event.revision > index.get((projection.alias, key), (-1, None))[0]:
                    index[projection.alias, key] = (event.revision, projection.document(event))
    return index

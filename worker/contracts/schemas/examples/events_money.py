"""Examples of the events of money paid in, out and across: what the examples of those commands made."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.schemas.examples.commands_money import CREATE, TRANSFER
from worker.contracts.schemas.examples.ids import OTHER_WALLET, WALLET
from worker.contracts.schemas.examples.kinds import Example, Invalid, Valid, but, without

CREATED = {
    "walletId": WALLET,
    "version": 0,
    "occurredAt": "2026-11-22T12:00:00.000000Z",
    "initialBalance": "0.0000",
    "ownerId": CREATE["ownerId"],
    "currency": "USD",
    "status": "ACTIVE",
    "balance": "0.0000",
    "heldBalance": "0.0000",
    "walletMetadata": {"plan": "business"},
    "createdAt": "2026-11-22T12:00:00.000000Z",
}
CREDITED = {
    "walletId": WALLET,
    "version": 1,
    "occurredAt": "2026-11-22T12:00:01.250000Z",
    "amount": "100.0000",
    "ownerId": CREATE["ownerId"],
    "currency": "USD",
    "status": "ACTIVE",
    "balance": "100.0000",
    "heldBalance": "0.0000",
    "walletMetadata": {"plan": "business"},
    "createdAt": "2026-11-22T12:00:00.000000Z",
}
DEBITED = but(CREDITED, version=7, amount="5.0000", balance="95.0000")
SENT = but(
    CREDITED,
    version=7,
    amount="12.5000",
    counterpartyWalletId=OTHER_WALLET,
    transferId=TRANSFER["commandId"],
    balance="87.5000",
)
RECEIVED = but(
    CREDITED,
    walletId=OTHER_WALLET,
    version=3,
    amount="12.5000",
    counterpartyWalletId=WALLET,
    transferId=TRANSFER["commandId"],
    ownerId="customer-18",
    balance="12.5000",
    walletMetadata={},
)

MONEY_EVENT_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "WalletCreated": (
        Valid("empty", "A wallet without money, and the metadata that it was made with.", CREATED),
        Valid(
            "with-money",
            "The initial balance is the balance.",
            but(CREATED, initialBalance="250.0000", balance="250.0000"),
        ),
        Invalid(
            "later-version", "A stream begins with its creation.", but(CREATED, version=1), "version", "literal_error"
        ),
        Invalid(
            "without-owner",
            "Every event carries the wallet's state.",
            without(CREATED, "ownerId"),
            "ownerId",
            "missing",
        ),
    ),
    "WalletCredited": (
        Valid("credit", "Money from outside.", but(CREDITED, reference="topup-1", metadata={"channel": "card"})),
        Valid("from-transfer", "The target's half of a transfer.", RECEIVED),
        Invalid("without-amount", "A credit says how much.", without(CREDITED, "amount"), "amount", "missing"),
        Invalid(
            "unknown-status", "A wallet has one of three states.", but(CREDITED, status="FROZEN"), "status", "enum"
        ),
    ),
    "WalletDebited": (
        Valid("debit", "Money to the outside.", DEBITED),
        Valid("into-transfer", "The source's half of a transfer.", SENT),
        Invalid(
            "negative-version", "Revisions count from 0.", but(DEBITED, version=-1), "version", "greater_than_equal"
        ),
        Invalid(
            "field-of-another-event",
            "An event carries its own facts only.",
            but(DEBITED, initialBalance="5.0000"),
            "initialBalance",
            "extra_forbidden",
        ),
    ),
}

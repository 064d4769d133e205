"""Examples of the commands that pay in, out and across; what all commands share is shown on one of these."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.schemas.examples.ids import OTHER_WALLET, WALLET
from worker.contracts.schemas.examples.kinds import Example, Valid, but, invalid_command, without

CREATE = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c01",
    "type": "CreateWallet",
    "walletId": WALLET,
    "ownerId": "customer-17",
}
CREDIT = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c02",
    "type": "CreditWallet",
    "walletId": WALLET,
    "amount": "100.0000",
}
DEBIT = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c03",
    "type": "DebitWallet",
    "walletId": WALLET,
    "amount": "5.0000",
}
TRANSFER = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c04",
    "type": "Transfer",
    "fromWalletId": WALLET,
    "toWalletId": OTHER_WALLET,
    "amount": "12.5000",
}


_CREATE_WALLET = (
    Valid("least", "What must be said: the wallet gets USD and an initial balance of 0.", CREATE),
    Valid(
        "everything",
        "A wallet in euro with money in it; the metadata is the wallet's.",
        but(
            CREATE,
            currency="EUR",
            initialBalance="250.0000",
            reference="signup-2026-11-22",
            metadata={"plan": "business", "tags": ["vip"]},
            notAfter="2026-11-22T12:00:00Z",
        ),
    ),
    invalid_command("without-owner", "Every wallet has an owner.", without(CREATE, "ownerId"), "ownerId", "missing"),
    invalid_command(
        "empty-owner", "An owner has 1 to 255 characters.", but(CREATE, ownerId=""), "ownerId", "string_too_short"
    ),
    invalid_command(
        "currency-in-small-letters",
        "A currency is an ISO 4217 code in capitals.",
        but(CREATE, currency="usd"),
        "currency",
        "string_pattern_mismatch",
    ),
    invalid_command(
        "unknown-currency",
        "Three capitals are not yet a currency of ISO 4217.",
        but(CREATE, currency="ABC"),
        "currency",
        "unknown_currency",
        by_schema=False,
    ),
    invalid_command(
        "expected-version",
        "A wallet that is not there yet has no version.",
        but(CREATE, expectedVersion=0),
        "expectedVersion",
        "extra_forbidden",
    ),
    invalid_command(
        "negative-initial-balance",
        "A wallet does not begin in debt.",
        but(CREATE, initialBalance="-1.0000"),
        "initialBalance",
        INVALID_AMOUNT,
    ),
)

_CREDIT_WALLET = (
    Valid("text-amount", "The usual way to write an amount.", CREDIT),
    Valid("integer-amount", "A JSON integer is an amount too.", but(CREDIT, amount=100)),
    invalid_command(
        "number-with-fraction", "A binary float is not money.", but(CREDIT, amount=12.5), "amount", INVALID_AMOUNT
    ),
    invalid_command(
        "number-with-empty-fraction",
        "A number written with a fraction is a float, also where the fraction is 0.",
        but(CREDIT, amount=5.0),
        "amount",
        INVALID_AMOUNT,
        by_schema=False,
    ),
    invalid_command("zero", "An amount is more than 0.", but(CREDIT, amount="0.0000"), "amount", INVALID_AMOUNT),
    invalid_command(
        "over-the-limit",
        "An amount is at most 100000000000000.",
        but(CREDIT, amount="100000000000000.0001"),
        "amount",
        INVALID_AMOUNT,
    ),
    invalid_command("five-places", "Money has four places.", but(CREDIT, amount="1.00001"), "amount", INVALID_AMOUNT),
    invalid_command(
        "capital-letters-in-id",
        "An id is a UUID in small letters, since it is compared as text.",
        but(CREDIT, walletId=WALLET.upper()),
        "walletId",
        "string_pattern_mismatch",
    ),
    invalid_command(
        "over-8-kib-of-metadata",
        "Metadata has at most 8192 bytes as compact JSON.",
        but(CREDIT, metadata={"note": "x" * 8192}),
        "metadata",
        "metadata",
        by_schema=False,
    ),
)

_DEBIT_WALLET = (
    Valid("least", "What must be said: the currency is the wallet's.", DEBIT),
    Valid(
        "guarded",
        "Only at version 7 of the wallet, only in US dollars, and not after noon.",
        but(DEBIT, currency="USD", expectedVersion=7, notAfter="2026-11-22T12:00:00+01:00", reference="invoice-12"),
    ),
    invalid_command(
        "unknown-field",
        "A misspelt expectedVersion must not be ignored.",
        but(DEBIT, expectedversion=7),
        "expectedversion",
        "extra_forbidden",
    ),
    invalid_command(
        "negative-version",
        "A version is at least 0.",
        but(DEBIT, expectedVersion=-1),
        "expectedVersion",
        "greater_than_equal",
    ),
    invalid_command(
        "time-as-number",
        "A time is RFC 3339 text, not Unix time.",
        but(DEBIT, notAfter=1795348800),
        "notAfter",
        "time",
    ),
    invalid_command(
        "time-without-zone",
        "Noon is not one moment.",
        but(DEBIT, notAfter="2026-11-22T12:00:00"),
        "notAfter",
        "time",
        by_schema=False,
    ),
)

_TRANSFER = (
    Valid("least", "From one wallet to another.", TRANSFER),
    Valid("with-metadata", "Reference and metadata go into both events.", but(TRANSFER, metadata={"order": 4711})),
    invalid_command(
        "without-target", "Money must go somewhere.", without(TRANSFER, "toWalletId"), "toWalletId", "missing"
    ),
    invalid_command(
        "without-command-id",
        "Without an id a repeat could not be told.",
        without(TRANSFER, "commandId"),
        "commandId",
        "missing",
    ),
    invalid_command(
        "wallet-id", "A transfer names two wallets.", but(TRANSFER, walletId=WALLET), "walletId", "extra_forbidden"
    ),
)

MONEY_COMMAND_EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "CreateWallet": _CREATE_WALLET,
    "CreditWallet": _CREDIT_WALLET,
    "DebitWallet": _DEBIT_WALLET,
    "Transfer": _TRANSFER,
}

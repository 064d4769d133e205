"""Examples of the group of commands: all of them happen, or none."""

from __future__ import annotations

from collections.abc import Mapping

from worker.contracts.money import INVALID_AMOUNT
from worker.contracts.schemas.examples.commands_holds import CAPTURE, PLACE
from worker.contracts.schemas.examples.commands_money import DEBIT
from worker.contracts.schemas.examples.ids import OTHER_WALLET
from worker.contracts.schemas.examples.kinds import Example, Valid, but, invalid_command, without

DEBIT_PART = without(DEBIT, "commandId")
PLACE_PART = without(PLACE, "commandId")
ATOMIC = {
    "commandId": "5f0c8d0e-9a58-4c56-8d0b-3f6f1f0a7c0d",
    "type": "Atomic",
    "commands": [DEBIT_PART, PLACE_PART],
}

_ATOMIC = (
    Valid("debit-and-hold", "A debit and a hold in one transaction.", ATOMIC),
    Valid(
        "across-wallets",
        "Each part sees what the ones before it did, and may insist on the version of its turn.",
        but(
            ATOMIC,
            commands=[
                {"type": "CreateWallet", "walletId": OTHER_WALLET, "ownerId": "customer-18"},
                PLACE_PART,
                but(without(CAPTURE, "commandId"), toWalletId=OTHER_WALLET, amount="12.5000"),
                {"type": "CreditWallet", "walletId": OTHER_WALLET, "amount": "1.0000", "expectedVersion": 1},
            ],
            notAfter="2026-11-22T12:00:00Z",
            reference="order-4711",
            metadata={"order": 4711},
        ),
    ),
    invalid_command(
        "one-part", "A group has 2 to 100 parts.", but(ATOMIC, commands=[DEBIT_PART]), "commands", "too_short"
    ),
    invalid_command(
        "too-many-parts",
        "A group has 2 to 100 parts.",
        but(ATOMIC, commands=[DEBIT_PART] * 101),
        "commands",
        "too_long",
    ),
    invalid_command(
        "part-with-id",
        "A part has no id of its own: the group is repeated as a whole.",
        but(ATOMIC, commands=[DEBIT, PLACE_PART]),
        "commands.0.commandId",
        "extra_forbidden",
    ),
    invalid_command(
        "part-with-deadline",
        "The deadline is the group's.",
        but(ATOMIC, commands=[DEBIT_PART, but(PLACE_PART, notAfter="2026-11-22T12:00:00Z")]),
        "commands.1.notAfter",
        "extra_forbidden",
    ),
    invalid_command(
        "expected-version",
        "A version is of one wallet: it stands in a part.",
        but(ATOMIC, expectedVersion=7),
        "expectedVersion",
        "extra_forbidden",
    ),
    invalid_command(
        "group-in-group",
        "A group has no groups in it.",
        but(ATOMIC, commands=[DEBIT_PART, without(ATOMIC, "commandId")]),
        "commands.1",
        "union_tag_invalid",
    ),
    invalid_command(
        "amount-of-a-part",
        "What is wrong is named by the part's place, from 0.",
        but(ATOMIC, commands=[DEBIT_PART, but(PLACE_PART, amount=0.5)]),
        "commands.1.amount",
        INVALID_AMOUNT,
    ),
)

GROUP_COMMAND_EXAMPLES: Mapping[str, tuple[Example, ...]] = {"Atomic": _ATOMIC}

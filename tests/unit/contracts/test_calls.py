"""The commands as Python calls: what each method asks for, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from worker.contracts.calls import Asked, CommandCalls, command_of, part, part_of
from worker.contracts.commands import COMMAND, COMMAND_TYPES, Command

A, B, HOLD, ID = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
TIME = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Asking(CommandCalls[Command]):
    """Makes the command, and no more."""

    def _ask(self, asked: Asked) -> Command:
        return command_of(asked, asked.command_id or str(uuid4()))


ask = Asking()

EVERY_CALL = [
    (ask.create_wallet(A, "alice", initial_balance="5", command_id=ID), {
        "type": "CreateWallet", "walletId": str(A), "ownerId": "alice", "initialBalance": "5",
    }),
    (ask.credit(A, 5, currency="EUR", command_id=ID), {
        "type": "CreditWallet", "walletId": str(A), "amount": "5.0", "currency": "EUR",
    }),
    (ask.debit(A, Decimal("5.00"), expected_version=3, command_id=ID), {
        "type": "DebitWallet", "walletId": str(A), "amount": "5", "expectedVersion": 3,
    }),
    (ask.transfer(A, B, "5", reference="r", command_id=ID, not_after=TIME), {
        "type": "Transfer", "fromWalletId": str(A), "toWalletId": str(B), "amount": "5", "reference": "r",
        "notAfter": "2026-11-22T12:00:00Z",
    }),
    (ask.place_hold(A, HOLD, "5", hold_type="ESCROW", expires_at=TIME, command_id=ID), {
        "type": "PlaceHold", "walletId": str(A), "holdId": str(HOLD), "amount": "5", "holdType": "ESCROW",
        "expiresAt": "2026-11-22T12:00:00Z",
    }),
    (ask.release_hold(A, HOLD, command_id=ID), {"type": "ReleaseHold", "walletId": str(A), "holdId": str(HOLD)}),
    (ask.capture_hold(A, HOLD, "2", to_wallet_id=B, command_id=ID), {
        "type": "CaptureHold", "walletId": str(A), "holdId": str(HOLD), "amount": "2", "toWalletId": str(B),
    }),
    (ask.expire_hold(A, HOLD, command_id=ID), {"type": "ExpireHold", "walletId": str(A), "holdId": str(HOLD)}),
    (ask.suspend_wallet(A, reason="why", command_id=ID), {
        "type": "SuspendWallet", "walletId": str(A), "reason": "why",
    }),
    (ask.reactivate_wallet(A, metadata={"k": 1}, command_id=ID), {
        "type": "ReactivateWallet", "walletId": str(A), "metadata": {"k": 1},
    }),
    (ask.close_wallet(A, command_id=ID), {"type": "CloseWallet", "walletId": str(A)}),
    (ask.update_metadata(A, {"k": None}, expected_version=0, command_id=ID), {
        "type": "UpdateMetadata", "walletId": str(A), "metadata": {"k": None}, "expectedVersion": 0,
    }),
    (ask.atomic(part.debit(A, "5"), part.credit(B, "5", reference="r"), metadata={"k": 1}, command_id=ID), {
        "type": "Atomic", "metadata": {"k": 1}, "commands": [
            {"type": "DebitWallet", "walletId": str(A), "amount": "5"},
            {"type": "CreditWallet", "walletId": str(B), "amount": "5", "reference": "r"},
        ],
    }),
]  # fmt: skip


@pytest.mark.parametrize(("command", "written"), EVERY_CALL, ids=[command.type for command, _ in EVERY_CALL])
def test_a_call_asks_for_what_the_same_command_in_json_asks_for(command, written):
    """Field by field, with the same defaults; each method has its type."""
    assert command == COMMAND.validate_python({**written, "commandId": str(ID)}, by_alias=True, by_name=False)


def test_there_is_a_call_for_every_command():
    """One method each."""
    assert {command.type for command, _ in EVERY_CALL} == {model.__name__ for model in COMMAND_TYPES}


@pytest.mark.parametrize("call", [
    lambda: part.credit(A, 12.5), lambda: part.transfer(A, B, 1.0), lambda: part.capture_hold(A, HOLD, 2.0),
    lambda: part.create_wallet(A, "alice", initial_balance=0.0),
])  # fmt: skip
def test_an_amount_is_never_a_float(call):
    """A binary float is not money, be it a whole number."""
    with pytest.raises(TypeError, match="never a float"):
        call()


@pytest.mark.parametrize("option", [{"command_id": ID}, {"not_after": TIME}])
def test_a_part_has_no_id_and_no_deadline(option):
    """They are the group's, or the transaction's."""
    with pytest.raises(TypeError, match="not to one of its parts"):
        ask.atomic(part.debit(A, "5", **option), part.credit(B, "5"))
    with pytest.raises(TypeError, match="not to one of its parts"):
        part_of(part.debit(A, "5", **option))


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, float("nan"), float("inf"), Decimal("1.5")])
def test_metadata_of_a_call_holds_no_number_that_would_come_back_as_another(number):
    """As over Kafka; a float of Python's comes back as it is."""
    with pytest.raises(ValidationError, match="metadata"):
        ask.update_metadata(A, {"a": [number]})

    assert ask.update_metadata(A, {"a": [0.1, 5e-324, 2**64 - 1]}).metadata == {"a": [0.1, 5e-324, 2**64 - 1]}

"""What a reply holds, by the model: the same JSON that the worker must send, but for its time and its messages."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.support.model import Command, Hold, Model, No, Wallet, parts_of, wallets_of

Answer = dict[str, Any]


def answer(model: Model, command: Command) -> Answer:
    """Run `command` in `model`, and say what `comparable` must leave of its reply."""
    no, holds = None, []
    try:
        holds = model.run(command)
    except No as refusal:
        no = refusal
    parts = parts_of(command)
    named = dict.fromkeys(id_ for part in parts for id_ in wallets_of(part))
    reply = {
        "commandId": command["commandId"],
        "type": command["type"],
        "status": "rejected" if no else "accepted",
        "wallets": [_wallet(model.wallets[id_]) for id_ in named if id_ in model.wallets],
    }
    if "commands" not in command:
        return reply | _error(no) | _hold(model.hold_of(command))
    told = _refused_parts(model, parts, no) if no else [{"status": "accepted"} | _hold(hold) for hold in holds]
    numbered = [{"index": place, "type": parts[place]["type"]} | one for place, one in enumerate(told)]
    index = {} if no is None or no.index is None else {"index": no.index}
    return reply | _error(no, **index) | {"parts": numbered}


def comparable(reply: Any) -> Any:
    """A reply without what the model does not know: its time, and the messages."""
    if isinstance(reply, list):
        return [comparable(item) for item in reply]
    if isinstance(reply, dict):
        return {name: comparable(item) for name, item in reply.items() if name not in ("processedAt", "message")}
    return reply


def _refused_parts(model: Model, parts: list[Command], no: No) -> list[Answer]:
    """Those before the one that refused, the one itself, and those behind it; holds stand as they stood."""
    if no.index is None:
        return [{"status": "notRun"}] * len(parts)
    before = [{"status": "accepted"} | _hold(model.hold_of(part)) for part in parts[: no.index]]
    refused = {"status": "rejected"} | _error(no) | _hold(model.hold_of(parts[no.index]))
    return [*before, refused, *[{"status": "notRun"}] * (len(parts) - no.index - 1)]


def _error(no: No | None, **index: int) -> Answer:
    if no is None:
        return {}
    details = {name: _written(value) for name, value in no.args[1].items() if value is not None}
    return {"error": {"code": no.args[0], "details": details | index}}


def _hold(hold: Hold | None) -> Answer:
    if hold is None:
        return {}
    amounts = {"amount": _written(hold.amount), "capturedAmount": _written(hold.captured)}
    return {"hold": {"holdId": hold.id, "status": hold.status, **amounts, "expiresAt": _written(hold.expires_at)}}


def _wallet(wallet: Wallet) -> Answer:
    amounts = {"balance": wallet.balance, "heldBalance": wallet.held, "availableBalance": wallet.balance - wallet.held}
    about = {"walletId": wallet.id, "version": wallet.version, "status": wallet.status, "currency": wallet.currency}
    return about | {name: _written(amount) for name, amount in amounts.items()}


def _written(value: Any) -> Any:
    """Money and times as they travel."""
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value

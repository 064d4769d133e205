"""What `worker.inbox.decode` promises, checked on one input: whatever stands in a record, it is a command or a refusal.

An input reads like an HTTP message: a header a line (`name: value`, or `name` alone for a null one), an empty line, the
record's value. Without that empty line all of it is the value. A command that was read must mean the same when it is
written and read again, and must come through the decision, on wallets that exist and on none, with a reply of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import orjson

from tests.support.received import MAX_COMMAND_BYTES, REPLY_TOPICS, Headers, command_record
from worker.contracts.commands import COMMAND, Atomic, Command, Part, Single
from worker.contracts.envelope import CORRELATION_ID_BYTES_MAX
from worker.contracts.replies import ErrorCode, Reply
from worker.contracts.status import HoldStatus, HoldType, WalletStatus
from worker.domain.decide import wallet_ids
from worker.domain.wallet import NO_METADATA, Book, Hold, Wallet
from worker.inbox.dead_letter import dead_letter
from worker.inbox.decode import Refused, decode_record
from worker.ledger.decide_batch import Received, decide_batch

HEADERS_END = b"\n\n"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REPLY_BYTES_MAX = 512 * 1024
DEAD_LETTER_BYTES_MAX = 1000 * 1024
REFUSALS = {ErrorCode.INVALID_COMMAND, ErrorCode.INVALID_AMOUNT, ErrorCode.REPLY_TOPIC_NOT_ALLOWED}


def check(data: bytes) -> None:
    """Raise `AssertionError`, or what the decoder raised, where `data` breaks a promise."""
    headers, value = read_input(data)
    record = command_record(value, headers)
    decoded = decode_record(record, REPLY_TOPICS, MAX_COMMAND_BYTES)
    envelope = decoded.envelope
    assert REPLY_TOPICS.allow(envelope.reply_topic)
    assert all(len(id_) <= CORRELATION_ID_BYTES_MAX for _, id_ in envelope.correlation)
    if isinstance(decoded, Received):
        assert envelope.refused_reply_topic is None
        _check_meaning(value, decoded)
        _check_decision(decoded, Book({}, {}))
        _check_decision(decoded, _book_of(decoded.command))
        return
    _check_refusal(decoded)
    letter = dead_letter(record, "wallet.commands.dlq", decoded.rejected, envelope.attempt)
    sizes = [len(name) + len(text or b"") for name, text in letter.headers]
    assert len(letter.value or b"") + len(letter.key or b"") + sum(sizes) <= DEAD_LETTER_BYTES_MAX


def read_input(data: bytes) -> tuple[Headers, bytes]:
    """The headers and the value that stand in an input."""
    before, end, value = data.partition(HEADERS_END)
    if not end:
        return (), data
    lines = [line.partition(b": ") for line in before.split(b"\n") if line]
    return [(name.decode(errors="replace"), text if colon else None) for name, colon, text in lines], value


def write_input(headers: Headers, value: bytes) -> bytes:
    """The input in which `headers` and `value` stand."""
    lines = [name.encode() if text is None else b"%s: %s" % (name.encode(), text) for name, text in headers]
    return b"\n".join(lines) + HEADERS_END + value


def _check_refusal(refused: Refused) -> None:
    reply = Reply.model_validate_json(refused.reply)
    assert reply.error is not None
    assert (reply.status, reply.error.code) == ("rejected", refused.rejected.code)
    assert (reply.command_id, reply.type) == (refused.command_id, refused.type)
    assert refused.rejected.code in REFUSALS
    assert len(refused.reply) <= REPLY_BYTES_MAX


def _check_meaning(value: bytes, received: Received) -> None:
    """Written and read again it is the same command, and Python's own JSON finds the same in it."""
    written = COMMAND.dump_json(received.command, by_alias=True, exclude_unset=True)
    again = decode_record(command_record(written), REPLY_TOPICS, 2 * MAX_COMMAND_BYTES)
    assert isinstance(again, Received), again
    assert again.command == received.command
    assert again.fingerprint == received.fingerprint
    content = json.loads(value)
    assert (content["commandId"], content["type"]) == (received.command.command_id, received.command.type)


def _check_decision(received: Received, book: Book) -> None:
    """It can be decided, twice in a batch: one effect, and the same reply again."""
    first, second = decide_batch([received, received], book, {}, NOW).outcomes
    assert orjson.loads(first.reply)["commandId"] == received.command.command_id
    assert len(first.reply) <= REPLY_BYTES_MAX
    assert second.reply == first.reply
    assert not second.entries
    assert (first.error_code is None) or not first.entries


def _book_of(command: Command) -> Book:
    """A book in which everything exists that `command` names."""
    wallets = {
        id_: Wallet(
            id_, "owner", "USD", WalletStatus.ACTIVE, Decimal("100.0000"), Decimal("7.0000"), 3, NO_METADATA, NOW, NOW
        )
        for id_ in wallet_ids(command)
    }
    parts: list[Part | Single] = list(command.commands) if isinstance(command, Atomic) else [command]
    holds = {part.hold_id: _hold(part.hold_id, part.wallet_id) for part in parts if hasattr(part, "hold_id")}
    return Book(wallets, holds)


def _hold(hold_id: str, wallet_id: str) -> Hold:
    nothing = (None, None, NOW, None, None)
    money = (Decimal("7.0000"), Decimal("0.0000"))
    return Hold(hold_id, wallet_id, *money, HoldStatus.ACTIVE, HoldType.PAYMENT, *nothing, NOW, NOW)

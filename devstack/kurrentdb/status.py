"""The second protocol's refusals: google.rpc.Status with its details, in the trailer `grpc-status-details-bin`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import grpc
from google.protobuf.message import Message

from devstack.kurrentdb.errors import CallError
from devstack.kurrentdb.records import TOMBSTONE_REVISION
from devstack.kurrentdb.writer import ANY, EXISTS, NO_STREAM
from worker.outbox.protos import rpc_status_pb2, streams_v2_errors_pb2

DELETED, TOMBSTONED = -5, -6


class Violation(NamedTuple):
    """A stream that stands elsewhere than its check in the request expects."""

    check_index: int
    stream: str
    expected: int
    actual: int


def actual_state(revision: int, is_soft_deleted: bool) -> int:
    """A stream's revision, or the state that a check would name instead."""
    if revision == TOMBSTONE_REVISION:
        return TOMBSTONED
    return DELETED if is_soft_deleted else revision


def fits(expected: int, actual: int, revision: int) -> bool:
    """Whether a stream in state `actual`, last written at `revision`, is what a check expects."""
    if expected == EXISTS:
        return actual >= 0
    if expected == NO_STREAM:
        return actual in (NO_STREAM, DELETED)
    return actual != TOMBSTONED and expected in (ANY, revision)


def consistency_violation(violations: Sequence[Violation]) -> CallError:
    """The refusal of an append: all streams that stand elsewhere."""
    lines = "\n".join(f" - {_sentence(violation)}" for violation in violations)
    details = streams_v2_errors_pb2.AppendConsistencyViolationErrorDetails()
    for violation in violations:
        entry = details.violations.add(check_index=violation.check_index)
        entry.stream_state.stream = violation.stream
        entry.stream_state.expected_state = violation.expected
        entry.stream_state.actual_state = violation.actual
    return _refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Append failed due to consistency violations.\n\n{lines}",
        rpc_status_pb2.ErrorInfo(reason="APPEND_CONSISTENCY_VIOLATION", domain="streams"),
        details,
    )


def bad_request(message: str, faults: Sequence[tuple[str, str]]) -> CallError:
    """The refusal of a request that is not valid: each fault is a field and what is wrong with it."""
    reasons = [reason for _, reason in faults]
    text = f" {reasons[0]}" if len(reasons) == 1 else "".join(f"\n -- {reason}" for reason in reasons) + "\n"
    details = rpc_status_pb2.BadRequest()
    for field, reason in faults:
        details.field_violations.add(field=field, description=reason)
    return _refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"The '{message}' is invalid:{text}",
        rpc_status_pb2.ErrorInfo(reason="BAD_REQUEST", domain="server"),
        details,
    )


def _sentence(violation: Violation) -> str:
    expected = {NO_STREAM: "no stream", ANY: "any", EXISTS: "the stream to exist"}.get(
        violation.expected, f"revision {violation.expected}"
    )
    if violation.actual >= 0 and violation.expected == NO_STREAM:
        return f"Stream '{violation.stream}' already exists at revision {violation.actual}."
    standing = {TOMBSTONED: "is tombstoned", DELETED: "is deleted", -1: "does not exist"}.get(
        violation.actual, f"is at revision {violation.actual}"
    )
    return f"Stream '{violation.stream}' {standing}, expected {expected}."


def _refusal(code: grpc.StatusCode, text: str, info: Message, details: Message) -> CallError:
    status = rpc_status_pb2.Status(code=code.value[0], message=text)
    for detail in (info, details):
        status.details.add().Pack(detail)
    return CallError(code, text, ("grpc-status-details-bin", status.SerializeToString()))

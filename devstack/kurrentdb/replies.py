"""Answers of the first protocol's appends, as messages: success, wrong version, deleted, timed out, bad request."""

from __future__ import annotations

from typing import Any

from esdbclient.protos.Grpc import code_pb2, shared_pb2, status_pb2, streams_pb2
from google.protobuf import any_pb2, empty_pb2

from devstack.kurrentdb import errors
from devstack.kurrentdb.writer import ANY, EXISTS, NO_STREAM, Check, Verdict, Written

_EMPTY = shared_pb2.Empty()
_NO_STREAM_20_6_0 = 2**64 - 1


def append_reply(expected: int, result: Written | Check) -> bytes:
    """The answer of the unary Append: written, or another version."""
    if isinstance(result, Written):
        reply = streams_pb2.AppendResp(success=_success(streams_pb2.AppendResp.Success(), result))
    else:
        reply = streams_pb2.AppendResp(wrong_expected_version=_wrong_version(expected, result.actual))
    return bytes(reply.SerializeToString())


def _success(success: Any, written: Written) -> Any:
    if written.revision < 0:
        success.no_stream.SetInParent()
    else:
        success.current_revision = written.revision
    if written.position is None:
        success.no_position.SetInParent()
    else:
        success.position.commit_position = success.position.prepare_position = written.position
    return success


def _wrong_version(expected: int, actual: int) -> Any:
    wrong = streams_pb2.AppendResp.WrongExpectedVersion()
    if actual < 0:
        wrong.current_no_stream.SetInParent()
        wrong.no_stream_20_6_0.SetInParent()
    else:
        wrong.current_revision = wrong.current_revision_20_6_0 = actual
    if expected == NO_STREAM:
        wrong.expected_no_stream.SetInParent()
        wrong.expected_revision_20_6_0 = _NO_STREAM_20_6_0
    elif expected == ANY:
        wrong.expected_any.SetInParent()
        wrong.any_20_6_0.SetInParent()
    elif expected == EXISTS:
        wrong.expected_stream_exists.SetInParent()
        wrong.stream_exists_20_6_0.SetInParent()
    else:
        wrong.expected_revision = wrong.expected_revision_20_6_0 = expected
    return wrong


class BatchReply:
    """Builds the answers to one request of a BatchAppend call; each is the message's bytes."""

    def __init__(self, correlation_id: Any, stream: Any, expected: Any) -> None:
        """Take what the request brought: its correlation id and stream identifier, as they came, or None."""
        self._correlation_id = correlation_id
        self._stream = stream
        self._expected = expected

    def result(self, result: Written | Check) -> bytes:
        """Written, another version, or deleted."""
        if isinstance(result, Written):
            reply = self._reply()
            _success(reply.success, result)
            return bytes(reply.SerializeToString())
        if result.verdict is Verdict.DELETED:
            details = shared_pb2.StreamDeleted(stream_identifier=self._stream)
            return self._error(code_pb2.NOT_FOUND, "StreamDeleted", details)
        return self._error(code_pb2.ALREADY_EXISTS, "WrongExpectedVersion", self._wrong_version(result.actual))

    def timeout(self) -> bytes:
        """Unknown whether it was written."""
        return self._error(code_pb2.DEADLINE_EXCEEDED, "Timeout", shared_pb2.Timeout())

    def bad_request(self, reason: str) -> bytes:
        """The request cannot be written; the call goes on."""
        return self._error(code_pb2.INVALID_ARGUMENT, "BadRequest", shared_pb2.BadRequest(message=reason))

    def too_large(self, append_bytes_max: int) -> bytes:
        """More than one append may hold."""
        details = shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=append_bytes_max)
        return self._error(code_pb2.INVALID_ARGUMENT, "MaximumAppendSizeExceeded", details)

    def not_ready(self) -> bytes:
        """An error with code 0, which is no success: the real server answers so."""
        return self._error(code_pb2.OK, errors.NOT_READY, empty_pb2.Empty())

    def _wrong_version(self, actual: int) -> Any:
        wrong = shared_pb2.WrongExpectedVersion()
        if actual < 0:
            wrong.current_no_stream.SetInParent()
        else:
            wrong.current_stream_revision = actual
        states = {
            NO_STREAM: wrong.expected_no_stream, ANY: wrong.expected_any, EXISTS: wrong.expected_stream_exists,
        }  # fmt: skip
        if self._expected in states:
            states[self._expected].SetInParent()
        else:
            wrong.expected_stream_position = self._expected
        return wrong

    def _error(self, code: Any, message: str, details: Any) -> bytes:
        packed = any_pb2.Any()
        packed.Pack(details)
        reply = self._reply()
        reply.error.CopyFrom(status_pb2.Status(code=code, message=message, details=packed))
        return bytes(reply.SerializeToString())

    def _reply(self) -> Any:
        return streams_pb2.BatchAppendResp(correlation_id=self._correlation_id, stream_identifier=self._stream)

"""How a refused call ends: gRPC status, wording and trailers as the real server gives them.

The wording is part of the protocol: `esdbclient` reads the actual revision out of it.
"""

from __future__ import annotations

from urllib.parse import quote

import grpc

UNHANDLED = "Exception was thrown by handler."
NOT_READY = "Server Is Not Ready"
TOO_LARGE = "Received message exceeds the maximum configured message size."

# What the real server takes as one gRPC message over its first protocol: 16 MiB less 10,000 bytes.
MESSAGE_BYTES_MAX = 16_767_216


class CallError(Exception):
    """Ends the call with this status."""

    def __init__(self, code: grpc.StatusCode, details: str, *trailers: tuple[str, str | bytes]) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailers = trailers


def stream_deleted(name: str) -> CallError:
    """The stream was ended for ever."""
    return CallError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Event stream '{name}' is deleted.",
        ("exception", "stream-deleted"), ("stream-name", header_text(name)),
    )  # fmt: skip


def delete_refused(name: str, expected: int, actual: int) -> CallError:
    """A delete or tombstone at another revision than the stream's."""
    return CallError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "Delete failed due to WrongExpectedVersion. "
        f"Stream: {name}, Expected version: {expected}, Actual version: {actual}",
        ("exception", "wrong-expected-version"), ("stream-name", header_text(name)),
        ("expected-version", str(expected)), ("actual-version", str(actual)),
    )  # fmt: skip


def metadata_missing(key: str) -> CallError:
    """An event without one of the metadata keys that every event must have."""
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"Required Metadata Property '{key}' is missing",
        ("exception", "missing-required-metadata-property"), ("required-metadata-properties", "type,content-type"),
    )  # fmt: skip


def invalid(details: str) -> CallError:
    """A request that the server understands and refuses."""
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, details)


def unhandled() -> CallError:
    """A request on which the real server's handler throws."""
    return CallError(grpc.StatusCode.UNKNOWN, UNHANDLED)


def not_ready() -> CallError:
    """The server starts, or has no leader."""
    return CallError(grpc.StatusCode.UNAVAILABLE, NOT_READY)


def cut() -> CallError:
    """What a client sees when the connection breaks in the middle of a call."""
    return CallError(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def too_large() -> CallError:
    """One gRPC message over the limit."""
    return CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE)


def header_text(text: str) -> str:
    """Text as a gRPC header takes it: ASCII."""
    return text if text.isascii() and text.isprintable() else quote(text)

"""What Kafka's answers mean for what was to be published: one place that says which of them are final.

aiokafka knows the codes up to 79 only, and turns every other one into `UnknownError`, without its name: those that
this project must tell apart are added to its table here, for every client of the process.
"""

from __future__ import annotations

from enum import Enum

from aiokafka.errors import (
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    CorruptRecordException,
    InvalidTimestampError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedForMessageFormatError,
    kafka_errors,
)


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]
    """The topic does not take such a record: one without a key in a compacted topic, among others."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The topic does not take such a record: it is compacted and the record has no key, among others"


class FencedInstanceIdError(BrokerResponseError):  # type: ignore[misc]
    """Another member of the group has registered with the same `group.instance.id`."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member of the group goes by the same group.instance.id"


kafka_errors |= {error.errno: error for error in (InvalidRecordError, FencedInstanceIdError)}


class Meaning(Enum):
    """What an error means for the record that it answers."""

    FOR_NOW = "the same may be taken later: it is tried again, for as long as it takes"
    THIS_RECORD = "this record, or a batch so large, is never taken by this topic; others may be"
    THIS_TOPIC = "nothing of ours is taken by this topic, before a person has changed something"


_THIS_RECORD = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
    UnsupportedForMessageFormatError,
    # Tried again by aiokafka for as long as a request may take: bytes that were changed on their way are whole by then.
    CorruptRecordException,
)
_THIS_TOPIC = (
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    PolicyViolationError,
)


def meaning(error: BaseException) -> Meaning:
    """What `error`, with which publishing a record ended, means. What is not known to be final is not."""
    if isinstance(error, _THIS_RECORD):
        return Meaning.THIS_RECORD
    return Meaning.THIS_TOPIC if isinstance(error, _THIS_TOPIC) else Meaning.FOR_NOW

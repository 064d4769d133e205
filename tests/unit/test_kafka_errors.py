"""What Kafka's errors mean: each is waited for, or final for a record, or final for a topic."""

from __future__ import annotations

import pytest
from aiokafka import errors

from worker.kafka_errors import FencedInstanceIdError, InvalidRecordError, Meaning, meaning


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.MessageSizeTooLargeError(), Meaning.THIS_RECORD),
        (errors.InvalidTimestampError(), Meaning.THIS_RECORD),
        (InvalidRecordError(), Meaning.THIS_RECORD),
        (errors.TopicAuthorizationFailedError("replies"), Meaning.THIS_TOPIC),
        (errors.PolicyViolationError(), Meaning.THIS_TOPIC),
        (errors.UnknownTopicOrPartitionError(), Meaning.FOR_NOW),
        (errors.NotEnoughReplicasError(), Meaning.FOR_NOW),
        (errors.LeaderNotAvailableError(), Meaning.FOR_NOW),
        (errors.RequestTimedOutError(), Meaning.FOR_NOW),
        (errors.KafkaConnectionError(), Meaning.FOR_NOW),
        (errors.UnknownError(), Meaning.FOR_NOW),
        (TimeoutError(), Meaning.FOR_NOW),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_only_what_is_known_to_be_final_is_not_tried_again(error, expected):
    """A missing topic may be made, replicas may come back, and an error without a name may pass."""
    assert meaning(error) is expected


def test_the_codes_that_aiokafka_does_not_know_have_their_names():
    """It would make an `UnknownError` of each."""
    assert errors.for_code(87) is InvalidRecordError
    assert errors.for_code(82) is FencedInstanceIdError

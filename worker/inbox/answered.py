"""A record with its outcome, and a batch of them, on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import ConsumerRecord

from worker.contracts.envelope import Envelope
from worker.inbox.partitions import Partition
from worker.ledger.decide_batch import Outcome
from worker.outbox.publish import Message


class Answered(NamedTuple):
    """A record and its outcome. `command_id` is None where it could not be read, `type` where it is none of ours."""

    partition: Partition
    record: ConsumerRecord
    envelope: Envelope
    command_id: str | None
    type: str | None
    outcome: Outcome
    dead_letter: Message | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """Answered records on their way out.

    `took_ms` says how long each stage took, `oldest_ms` is the oldest record's Kafka timestamp.
    """

    answered: Sequence[Answered]
    took_ms: dict[str, float]
    contradictory: frozenset[str] = frozenset()
    oldest_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.oldest_ms = min(answered.record.timestamp for answered in self.answered)

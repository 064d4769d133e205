"""What of a poll is run, and what is dropped with the assignment that it belongs to."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock, patch

from aiokafka import TopicPartition

from worker.inbox.intake import Intake
from worker.inbox.parking import ParkingLot
from worker.inbox.partitions import Partition


async def test_nothing_of_a_partition_runs_behind_a_record_that_was_dropped():
    """A refused mark drops the lone record: those behind it would overtake it."""
    partition = Partition(TopicPartition("wallet.commands", 0), 0)
    intake = Intake("this", MagicMock(), AsyncMock(), ParkingLot(MagicMock()), MagicMock(), MagicMock(), MagicMock())
    records = [SimpleNamespace(offset=offset, value=b"", timestamp=0) for offset in range(3)]

    with (
        patch("worker.inbox.intake.commit", AsyncMock(return_value=False)),
        patch.object(Intake, "_decide", AsyncMock(return_value=[])) as decide,
    ):
        await intake.take([(partition, records)])

    decide.assert_not_awaited()
    assert not partition.owned

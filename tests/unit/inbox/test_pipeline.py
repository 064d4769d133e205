"""When a pipeline is stuck: something waits for its answer, and nothing comes out of it."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock, patch

from worker.inbox.pipeline import STUCK_S, Pipeline


async def test_a_pipeline_is_stuck_when_nothing_was_answered_for_a_while():
    """Not when it was idle until just now, and not without anything to answer."""
    with patch("worker.outbox.appender.Acknowledged"):
        pipeline = Pipeline(MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock(), "dlq")
    with patch("worker.inbox.pipeline.time.monotonic") as now:
        now.return_value = 1000.0
        idle = pipeline.is_stuck()
        await pipeline.put(SimpleNamespace())
        just_now = pipeline.is_stuck()
        now.return_value += STUCK_S + 1
        stuck = pipeline.is_stuck()
        await pipeline.put(SimpleNamespace())

        assert (idle, just_now, stuck, pipeline.is_stuck()) == (False, False, True, True)

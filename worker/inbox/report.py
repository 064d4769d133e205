"""What is told of each batch: how long its stages took, what became of its commands, one rich log line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from worker.inbox.answered import Batch
from worker.ledger.reply import ACCEPTED, REJECTED
from worker.telemetry.metrics import WorkerMetrics

log = structlog.get_logger(__name__)


@contextmanager
def measured(metrics: WorkerMetrics, stage: str, took_ms: dict[str, float]) -> Iterator[None]:
    """Measure the block as the stage `stage` of a batch, for the metrics and for its log line."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    metrics.stage_seconds.labels(stage).observe(took)
    took_ms[stage] = round(took_ms.get(stage, 0.0) + took * 1000, 1)


def report(metrics: WorkerMetrics, batch: Batch) -> None:
    """Count what became of the batch's commands, and say it in one line."""
    first = [answered for answered in batch.answered if not answered.outcome.replayed]
    counted = Counter((answered.type or "", str(answered.outcome.error_code or "")) for answered in first)
    rejected: Counter[str] = Counter()
    for (type_, code), count in counted.items():
        metrics.commands.labels(type_, REJECTED if code else ACCEPTED, code).inc(count)
        rejected.update({code: count} if code else {})
    replayed = len(batch.answered) - len(first)
    metrics.replayed.inc(replayed)
    metrics.batch_commands.observe(len(batch.answered))
    log.info(
        "batch",
        records=len(batch.answered),
        accepted=len(first) - rejected.total(),
        rejected=dict(rejected),
        replayed=replayed,
        events=sum(len(answered.outcome.events) for answered in batch.answered),
        partitions=len({answered.partition.id for answered in batch.answered}),
        age_ms=round(time.time() * 1000) - batch.oldest_ms,
        took_ms=batch.took_ms,
    )

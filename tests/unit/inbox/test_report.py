"""What is told of a batch: one line that can be read by a machine, whatever became of its commands."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from aiokafka import ConsumerRecord, TopicPartition

from tests.support.received import command_record
from worker.contracts.envelope import Envelope
from worker.contracts.replies import ErrorCode
from worker.inbox.answered import Answered, Batch
from worker.inbox.partitions import Partition
from worker.inbox.report import report
from worker.ledger.decide_batch import Outcome
from worker.telemetry.logs import configure_logs
from worker.telemetry.metrics import WorkerMetrics, new_registry

PARTITION = Partition(TopicPartition("wallet.commands", 0), 0)


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("INFO", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def answered(outcome: Outcome, type_: str = "DebitWallet") -> Answered:
    record: ConsumerRecord = command_record({})
    return Answered(PARTITION, record, Envelope("wallet.replies"), None, type_, outcome)


def test_a_rejected_batch_has_its_line_too(log_lines: io.StringIO) -> None:
    """One JSON line a batch, with its rejections by code, over all types; a repeated command counts as replayed."""
    batch = Batch(
        [
            answered(Outcome(None, b"{}")),
            answered(Outcome(ErrorCode.INSUFFICIENT_FUNDS, b"{}")),
            answered(Outcome(ErrorCode.INSUFFICIENT_FUNDS, b"{}"), "Transfer"),
            answered(Outcome(ErrorCode.WALLET_NOT_FOUND, b"{}", replayed=True)),
        ],
        {"decode": 1.5},
    )

    report(WorkerMetrics(new_registry()), batch)

    (line,) = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert line["event"] == "batch"
    assert (line["records"], line["accepted"], line["replayed"]) == (4, 1, 1)
    assert line["rejected"] == {"InsufficientFunds": 2}


def test_the_metrics_tell_types_and_codes_apart() -> None:
    """Commands are counted by type, status and code, each for the first time only."""
    metrics = WorkerMetrics(registry := new_registry())

    report(metrics, Batch([answered(Outcome(ErrorCode.INSUFFICIENT_FUNDS, b"{}")), answered(Outcome(None, b"{}"))], {}))

    counted = {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        if family.name == "wallex_commands"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert counted == {("DebitWallet", "rejected", "InsufficientFunds"): 1, ("DebitWallet", "accepted", ""): 1}

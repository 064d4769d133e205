"""The first start of all: a new Kafka, no topics, no group."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.support.postgres import migrated_database
from tests.support.workers import WALLEX_WORKER, Worker


@pytest.fixture(scope="module")
def new_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Kafka that nobody has used."""
    own = Stack(tmp_path_factory.mktemp("new-kafka"))
    try:
        own.up(["kafka"])
        yield own
    finally:
        own.down(["kafka"])


async def test_a_first_start_says_no_error(stack, new_kafka, tmp_path: Path):
    """Topics and the group's coordinator are being made while the clients ask for them: that is no error."""
    async with migrated_database(stack.environment() | new_kafka.environment() | {"HTTP_PORT": "0"}) as own:
        worker = Worker(own, tmp_path / "worker.log")
        scheduler = Worker(own, tmp_path / "scheduler.log", (WALLEX_WORKER[0], "scheduler"))
        await worker.assigned()
        await asyncio.gather(worker.until_ready(), scheduler.until_ready())
        ended = [await one.stop() for one in (worker, scheduler)]

    assert ended == [0, 0]
    assert [line for one in (worker, scheduler) for line in one.lines() if line["level"] == "error"] == []

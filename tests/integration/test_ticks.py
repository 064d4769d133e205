"""The ticker on a real Kafka and Redis: ticks under the lease, and now and then without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from tests.support.replies import Topic, open_topic
from worker.lease import KEY_PREFIX
from worker.scheduler.tick import Ticker
from worker.settings import Settings
from worker.telemetry.metrics import SchedulerMetrics, new_registry


@pytest.fixture
async def settings(stack) -> Settings:
    """Settings with a schedule topic of the test's own."""
    settings = Settings.load(stack.environment() | {"SCHEDULE_TOPIC": f"test-{uuid4().hex[:12]}.schedule"})
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(settings.schedule_topic, 1, 1)])
    finally:
        await admin.close()
    return settings


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[Topic]:
    """What stands in it."""
    async with open_topic(settings.kafka_bootstrap_servers, settings.schedule_topic, 1) as topic:
        yield topic


async def ticks(settings: Settings, topic: Topic, count: int, stand_by_s: float) -> list[dict[str, object]]:
    """The first `count` ticks of a ticker that then stops."""
    ticker = Ticker(settings, SchedulerMetrics(new_registry()), stand_by_s)
    running = asyncio.create_task(ticker.run())
    try:
        records = await topic.until_count(count)
        return [json.loads(record.value) for record in records[:count]]
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_who_holds_the_lease_ticks_under_its_number(settings, topic):
    """Each tick says under which lease it was sent; a ticker that stopped left the lease to the next one."""
    first = await ticks(settings, topic, 2, stand_by_s=60)
    second = await ticks(settings, topic, 3, stand_by_s=60)

    assert first == [{"type": "ExpireDueHolds", "leaseNumber": 1}] * 2
    assert second[-1] == {"type": "ExpireDueHolds", "leaseNumber": 2}


async def test_a_redis_that_lies_about_the_lease_cannot_stop_the_ticks(settings, topic):
    """A lease that nobody holds and that never runs out: the one that stands by ticks all the same, now and then."""
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        await redis.set(f"{KEY_PREFIX}ticks:{settings.schedule_topic}", "of nobody")

    assert await ticks(settings, topic, 2, stand_by_s=0.2) == [{"type": "ExpireDueHolds"}] * 2

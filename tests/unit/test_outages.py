"""What is said of a server that is lost: one line when it goes and one when it is back, however many wait for it."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from worker import retry
from worker.errors import Unavailable
from worker.outages import say_back, say_lost, stop_waiting
from worker.retry import until_available


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.01)


def said(logs) -> list[tuple[str, str]]:
    return [(line["event"], line["server"]) for line in logs]


async def test_ten_that_wait_for_one_server_are_two_lines():
    """The first that misses it says so, the last that has it again says that."""
    away = asyncio.Event()

    async def call() -> None:
        if not away.is_set():
            raise Unavailable("away")

    with capture_logs() as logs:
        waiting = [asyncio.create_task(until_available("kafka", call)) for _ in range(10)]
        while not logs:  # noqa: ASYNC110 - the first attempt of each
            await asyncio.sleep(0.001)
        away.set()
        await asyncio.gather(*waiting)

    assert said(logs) == [("server_lost", "kafka"), ("server_back", "kafka")]


async def test_servers_are_told_apart():
    """One may be back while another is still away."""
    with capture_logs() as logs:
        say_lost("kafka", "a", "refused")
        say_lost("redis", "a", "refused")
        say_back("kafka", "a")
        say_back("redis", "a")

    assert said(logs) == [
        ("server_lost", "kafka"),
        ("server_lost", "redis"),
        ("server_back", "kafka"),
        ("server_back", "redis"),
    ]


async def test_who_never_missed_a_server_says_nothing():
    """A question that is answered is no news, nor is a second answer."""
    with capture_logs() as logs:
        say_back("kafka", "a")
        say_lost("kafka", "a", "refused")
        say_back("kafka", "b")
        say_back("kafka", "a")
        say_back("kafka", "a")

    assert said(logs) == [("server_lost", "kafka"), ("server_back", "kafka")]


async def test_who_stops_waiting_leaves_no_outage_behind():
    """A process that ends a task does not claim that the server is back; the next outage is told anew."""
    with capture_logs() as logs:
        say_lost("kafka", "a", "refused")
        stop_waiting("kafka", "a")
        say_lost("kafka", "b", "refused")
        say_back("kafka", "b")

    assert said(logs) == [("server_lost", "kafka"), ("server_lost", "kafka"), ("server_back", "kafka")]

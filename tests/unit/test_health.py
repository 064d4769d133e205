"""Health: the three pages over real HTTP, and what makes them fail."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.request import urlopen

import aiohttp
import pytest
from aiokafka import TopicPartition

from worker.errors import Unavailable
from worker.health import Watched
from worker.inbox.partitions import Partition
from worker.settings import SettingsError
from worker.telemetry.health import REQUESTS_MAX, Check, serve_health
from worker.telemetry.metrics import WorkerMetrics, new_registry


async def fine() -> None:
    pass


async def broken() -> None:
    raise ConnectionError("refused")


async def silent() -> None:
    await asyncio.Event().wait()


async def get(port: int, page: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{page}") as answer:
        return answer.status, await answer.text()


async def test_a_healthy_process_answers_200():
    """All checks pass: ready and alive."""
    async with serve_health(port=0, registry=new_registry(), live=[Check("loop", fine)], ready=[]) as port:
        live, ready = await get(port, "/livez"), await get(port, "/readyz")

    assert live == (200, '{"failing": [], "checks": {"loop": "ok"}}')
    assert ready[0] == 200


async def test_a_dependency_that_is_down_fails_readiness_and_not_liveness():
    """503 names what fails and why; the process itself is alive and is not to be restarted."""
    ready = [Check("postgres", fine), Check("kafka", broken)]
    async with serve_health(port=0, registry=new_registry(), live=[Check("loop", fine)], ready=ready) as port:
        readyz, livez = await get(port, "/readyz"), await get(port, "/livez")

    assert readyz == (
        503,
        '{"failing": ["kafka"], "checks": {"postgres": "ok", "kafka": "ConnectionError: refused"}}',
    )
    assert livez[0] == 200


async def test_a_check_that_does_not_answer_fails_after_a_second():
    """Checks run side by side, so that two silent ones take one second, not two."""
    ready = [Check("postgres", silent), Check("kafka", silent)]
    async with serve_health(port=0, registry=new_registry(), ready=ready) as port:
        started = time.monotonic()
        status, body = await get(port, "/readyz")
        elapsed_s = time.monotonic() - started

    assert status == 503
    assert body.count("no answer within 1.0 s") == 2
    assert 0.9 < elapsed_s < 1.9


async def test_however_many_ask_the_servers_are_asked_once():
    """Each question takes a connection and a server's time, which commands need."""
    asked = []
    may_answer = asyncio.Event()

    async def counted() -> None:
        asked.append(True)
        await may_answer.wait()

    async with serve_health(port=0, registry=new_registry(), ready=[Check("postgres", counted)]) as port:
        waiting = [asyncio.create_task(get(port, "/readyz")) for _ in range(REQUESTS_MAX)]
        while not asked:  # noqa: ASYNC110 - the server asks
            await asyncio.sleep(0)
        may_answer.set()
        answers = await asyncio.gather(*waiting)

    assert answers == [(200, '{"failing": [], "checks": {"postgres": "ok"}}')] * REQUESTS_MAX
    assert len(asked) == 1


async def test_an_answer_is_kept_for_a_moment_only(monkeypatch):
    """What is wrong now is said at the next question behind it."""
    monkeypatch.setattr("worker.telemetry.health.ANSWER_KEPT_S", 0.0)
    states = [fine, broken]

    async def changing() -> None:
        await states.pop(0)()

    async with serve_health(port=0, registry=new_registry(), ready=[Check("kafka", changing)]) as port:
        statuses = [(await get(port, "/readyz"))[0] for _ in range(2)]

    assert statuses == [200, 503]


async def test_more_requests_than_are_served_at_once_are_refused_and_liveness_never():
    """A probe that restarts the process must not lose against others who ask."""
    may_answer = asyncio.Event()
    slow = [Check("slow", may_answer.wait)]
    async with serve_health(port=0, registry=new_registry(), live=[Check("loop", fine)], ready=slow) as port:
        waiting = [asyncio.create_task(get(port, "/readyz")) for _ in range(REQUESTS_MAX + 1)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        alive = await get(port, "/livez")
        may_answer.set()
        statuses = sorted(status for status, _ in await asyncio.gather(*waiting))

    assert [one.result()[0] for one in done] == [503]
    assert alive[0] == 200
    assert statuses == [200] * REQUESTS_MAX + [503]


async def test_a_process_whose_event_loop_is_blocked_does_not_answer():
    """The pages share the loop with the work, so a probe's time-out shows what no check could."""
    async with serve_health(port=0, registry=new_registry()) as port:
        url = f"http://127.0.0.1:{port}/livez"
        asked = asyncio.create_task(asyncio.to_thread(urlopen, url, timeout=0.3))
        await asyncio.sleep(0)

        time.sleep(0.8)  # noqa: ASYNC251 - this is what it is about

        with pytest.raises(TimeoutError):
            await asked
        assert (await get(port, "/livez"))[0] == 200


async def test_metrics_are_shown_in_prometheus_format():
    """Each stage is there from the start, and the process's own figures."""
    registry = new_registry()
    metrics = WorkerMetrics(registry)
    metrics.commands.labels("Transfer", "rejected", "InsufficientFunds").inc()

    async with serve_health(port=0, registry=registry) as port:
        status, body = await get(port, "/metrics")

    assert status == 200
    assert 'wallex_commands_total{code="InsufficientFunds",status="rejected",type="Transfer"} 1.0' in body
    assert 'wallex_stage_seconds_count{stage="append"} 0.0' in body
    assert "process_cpu_seconds_total" in body


async def test_a_taken_port_is_one_clear_error():
    """The operator reads which variable to change."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match=rf"HTTP_HOST=0.0.0.0 HTTP_PORT={port}: .*a free port"):
            async with serve_health(port=port, registry=new_registry()):
                raise AssertionError("served on a taken port")


async def test_the_port_is_free_again_after_the_block():
    """A restart finds its port."""
    async with serve_health(port=0, registry=new_registry()) as port:
        pass

    async with serve_health(port=port, registry=new_registry()) as again:
        assert again == port


async def test_a_stopped_partition_fails_readiness_with_its_cause():
    """Which one, and why; those that go on are not named."""
    stopped, other = (Partition(TopicPartition("wallet.commands", number), 10) for number in range(2))
    watched = Watched(*[None] * 7, owned=lambda: [stopped, other])
    await watched.goes_on()

    stopped.stop_at(10, "its log begins again")

    with pytest.raises(Unavailable, match=r"\['wallet.commands-0: its log begins again'\]"):
        await watched.goes_on()

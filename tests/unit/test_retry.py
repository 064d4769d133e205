"""Trying again while a server is away."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from worker import retry
from worker.errors import Conflict, Unavailable
from worker.retry import until_available


class Server:
    """Fails so often, then answers; remembers when it was called."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.called_at: list[float] = []

    async def __call__(self) -> str:
        self.called_at.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    @property
    def waits_s(self) -> list[float]:
        return [after - before for before, after in zip(self.called_at, self.called_at[1:], strict=False)]


async def test_an_answer_is_returned_at_once_and_nothing_is_logged():
    """A server that is there costs one call."""
    server = Server()

    with capture_logs() as logs:
        answer = await until_available("kafka", server)

    assert answer == "answer"
    assert len(server.called_at) == 1
    assert logs == []


async def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(monkeypatch):
    """However often it is tried, an operator sees when the server went, why, and when it was back."""
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.01)
    server = Server(*[Unavailable(f"attempt {number}") for number in range(20)])

    with capture_logs() as logs:
        await until_available("kafka", server)

    lost, back = logs
    assert (lost["event"], lost["server"], lost["error"]) == ("server_lost", "kafka", "attempt 0")
    assert (back["event"], back["server"]) == ("server_back", "kafka")
    assert back["outage_s"] == pytest.approx(sum(server.waits_s), abs=0.05)


async def test_waits_grow_up_to_the_limit_and_are_jittered(monkeypatch):
    """Back-off is capped, so that a server is found again soon, and jittered, so that workers do not call in step."""
    monkeypatch.setattr(retry, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.02)
    server = Server(*[Unavailable("away")] * 60)

    await until_available("kafka", server)

    assert max(server.waits_s) < 0.02 + 0.05
    assert max(server.waits_s[:2]) < 0.002 + 0.05
    assert len({round(wait, 3) for wait in server.waits_s}) > 3


@pytest.mark.parametrize("error", [Conflict("moved"), ValueError("a bug")], ids=["another kind", "a bug"])
async def test_other_errors_pass_through(error):
    """Only an outage is waited out; everything else is for the caller."""
    server = Server(Unavailable("away"), error)

    with pytest.raises(type(error)) as caught:
        await until_available("kafka", server)

    assert caught.value is error
    assert len(server.called_at) == 2


@pytest.mark.parametrize("away", [True, False], ids=["between two calls", "during a call"])
async def test_waiting_for_a_server_can_be_cancelled(away):
    """A worker that stops does not wait for a server: in whatever state it waits, it ends at once."""
    called = asyncio.Event()

    async def call() -> None:
        called.set()
        if away:
            raise Unavailable("away")
        await asyncio.Event().wait()

    waiting = asyncio.create_task(until_available("kafka", call))
    await called.wait()
    await asyncio.sleep(0)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_time_limit_around_it_holds():
    """Whoever needs an answer by a certain time puts a limit around the waiting."""

    async def call() -> None:
        raise Unavailable("away")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await until_available("kafka", call)


async def test_a_call_that_is_cancelled_by_nobody_is_tried_again():
    """gRPC raises that for a call that it gave up by itself; the task that made it would end, and nobody would know."""
    server = Server(asyncio.CancelledError())

    with capture_logs() as logs:
        answer = await until_available("kurrentdb", server)

    assert answer == "answer"
    assert [line["event"] for line in logs] == ["server_lost", "server_back"]

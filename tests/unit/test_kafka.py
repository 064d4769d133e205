"""What aiokafka does not expect of its connections, and what it does not say of its consumers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from worker.kafka import is_dead


async def until_it_goes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that says nothing."""
    await reader.read()
    writer.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_that_the_loop_has_closed_is_said_to_be_broken(loop_factory):
    """On uvloop a write to it raises `RuntimeError`, which would end the consumer's tasks for good."""

    async def send_on_a_closed_connection() -> None:
        server = await asyncio.start_server(until_it_goes, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connection = AIOKafkaConnection("127.0.0.1", port, request_timeout_ms=100)
            connection._reader, connection._writer = await asyncio.open_connection("127.0.0.1", port)
            connection._versions = {MetadataRequest.API_KEY: (0, 0)}
            connection._read_task = connection._create_reader_task()
            connection._writer.transport.abort()
            # aiokafka is told so a turn of the loop later: for it the connection still lives.
            await connection.send(MetadataRequest([]))

    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(KafkaConnectionError):
        runner.run(send_on_a_closed_connection())


async def test_a_consumer_whose_own_tasks_have_ended_is_dead():
    """The one that fetches, keeps the group or finds the brokers; one that was stopped, or not started yet, is not."""
    ended, running = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(asyncio.sleep(60))
    await ended

    def consumer(fetching, coordinating, finding, closed=False):
        fetcher, coordinator = SimpleNamespace(_fetch_task=fetching), SimpleNamespace(_coordination_task=coordinating)
        client = SimpleNamespace(_sync_task=finding)
        return SimpleNamespace(_closed=closed, _fetcher=fetcher, _coordinator=coordinator, _client=client)

    assert is_dead(consumer(ended, running, running)) and is_dead(consumer(running, ended, running))
    assert is_dead(consumer(running, running, ended)) and not is_dead(consumer(running, running, running))
    assert not is_dead(consumer(ended, ended, ended, closed=True))
    assert not is_dead(None) and not is_dead(SimpleNamespace(_closed=False, _fetcher=None))
    running.cancel()

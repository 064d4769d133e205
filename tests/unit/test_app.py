"""How the worker is wired to FastStream: the settings that decide whether a command can be lost."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiokafka import AIOKafkaConsumer

from worker.app import create_app
from worker.settings import Settings


def arguments_by_group() -> dict[str, dict[str, Any]]:
    """What FastStream would build each consumer with, by its group."""
    app, _process = create_app(Settings.load({"KAFKA_GROUP_INSTANCE_ID": "worker-1"}))
    assert app.broker is not None
    return {subscriber.group_id: dict(subscriber._connection_args) for subscriber in app.broker.subscribers}


@pytest.fixture
def consumer_arguments() -> dict[str, Any]:
    """Those of the consumer of the command topics."""
    return arguments_by_group()["wallex-worker"]


@pytest.mark.parametrize("group", ["wallex-worker", "wallex-worker-schedule"])
def test_offsets_are_never_committed_by_the_consumer_itself(group: str) -> None:
    """Of commands, only what was answered is committed; and a consumer that commits by itself may never end."""
    assert arguments_by_group()[group]["enable_auto_commit"] is False


def test_a_new_group_starts_with_the_earliest_command(consumer_arguments: dict[str, Any]) -> None:
    """Without a committed offset no command is skipped, and none of an aborted transaction is read (the contract)."""
    assert consumer_arguments["auto_offset_reset"] == "earliest"
    assert consumer_arguments["isolation_level"] == "read_committed"
    assert consumer_arguments["group_instance_id"] == "worker-1"


def test_ticks_have_a_group_of_their_own() -> None:
    """The schedule's consumer appends `-schedule` to the group (the contract)."""
    assert sorted(arguments_by_group()) == ["wallex-worker", "wallex-worker-schedule"]


@pytest.mark.parametrize("group", ["wallex-worker", "wallex-worker-schedule"])
def test_faststreams_arguments_are_aiokafkas(group: str) -> None:
    """Each argument is one that the consumer knows, so none is ignored."""
    known = AIOKafkaConsumer.__init__.__kwdefaults__ or {}
    positional = AIOKafkaConsumer.__init__.__code__.co_varnames

    assert set(arguments_by_group()[group]) <= {*known, *positional}


@pytest.mark.parametrize("error", [None, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
async def test_the_process_knows_of_each_poll_and_of_one_that_failed(error: Exception | None) -> None:
    """After a failed poll every partition is read again; records belong to the assignment in which their poll ended."""
    app, process = create_app(Settings.load({}))
    assert app.broker is not None
    commands = next(one for one in app.broker.subscribers if one.group_id == "wallex-worker")
    process.assignment = MagicMock()
    consumer = AsyncMock()
    consumer.getmany.return_value, consumer.getmany.side_effect = {"partition": ["record"]}, error

    with nullcontext() if error is None else pytest.raises(UnicodeDecodeError):
        assert await commands.get_msg(consumer) == ("record",)

    assert process.assignment.seek_back.call_count == (error is not None)
    process.assignment.note_poll.assert_called_once_with()

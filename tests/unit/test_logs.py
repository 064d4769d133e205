"""Logs: the shape of a line, the libraries' lines, and what no line may hold."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from worker.telemetry import logs
from worker.telemetry.logs import configure_logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_a_constant_event():
    """Event, level, logger, UTC time in ISO 8601, and the fields."""
    stream = io.StringIO()
    configure_logs("INFO", stream)

    structlog.get_logger("worker.inbox").info("batch_done", commands=3, topic="wallet.commands")

    [line] = lines(stream)
    assert line.items() >= {"event": "batch_done", "commands": 3, "topic": "wallet.commands", "level": "info"}.items()
    assert line["logger"] == "worker.inbox"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(line["timestamp"]))


def test_library_lines_take_the_same_way():
    """What a library logs through `logging` is a JSON line as well, with its fields."""
    stream = io.StringIO()
    configure_logs("INFO", stream)

    logging.getLogger("sqlalchemy.pool").warning("pool of %d is empty", 5, extra={"waiting": 2})

    [line] = lines(stream)
    assert line.items() >= {"event": "pool of 5 is empty", "logger": "sqlalchemy.pool", "waiting": 2}.items()


@pytest.mark.parametrize("library", ["aiokafka.consumer.fetcher", "faststream.access.kafka", "elastic_transport.node"])
def test_talkative_libraries_are_heard_from_warning_up(library):
    """A line for each poll or request would bury ours; under DEBUG they may talk."""
    quiet, debug = io.StringIO(), io.StringIO()

    configure_logs("INFO", quiet)
    logging.getLogger(library).info("received")
    logging.getLogger(library).warning("lost")
    configure_logs("DEBUG", debug)
    logging.getLogger(library).info("received")

    assert [line["event"] for line in lines(quiet)] == ["lost"]
    assert [line["event"] for line in lines(debug)] == ["received"]


def test_a_library_that_repeats_itself_is_heard_once_a_minute(monkeypatch):
    """aiokafka has an error for each attempt to reach a broker: the first is said, and later how many there were."""
    stream = io.StringIO()
    configure_logs("INFO", stream)

    for port in range(100):
        logging.getLogger("aiokafka").error("Unable connect to node on port %s", port)
    logging.getLogger("aiokafka").error("Something else")
    monkeypatch.setattr(logs, "REPEAT_S", 0.0)
    logging.getLogger("aiokafka").error("Unable connect to node on port %s", 1)
    for _ in range(3):
        structlog.get_logger("worker").error("command_failed")

    told = [(line["event"], line.get("repeated")) for line in lines(stream)]
    assert told[:3] == [
        ("Unable connect to node on port 0", None),
        ("Something else", None),
        ("Unable connect to node on port 1", 99),
    ]
    assert told[3:] == [("command_failed", None)] * 3, "of our own lines none is held back"


def test_what_passes_by_itself_while_topics_are_made_is_said_only_if_it_lasts(monkeypatch):
    """At a first start aiokafka calls it an error that a topic or a coordinator is not there yet."""
    stream, now = io.StringIO(), 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    configure_logs("INFO", stream)
    library = logging.getLogger("aiokafka.cluster")

    library.error("Topic %s not found in cluster metadata", "wallet.schedule")
    now += logs.PASSING_S - 1
    library.error("Topic %s not found in cluster metadata", "wallet.schedule")
    library.error("Topic %s is not authorized for this client", "wallet.schedule")
    at_first = len(lines(stream))
    now += 2
    library.error("Topic %s not found in cluster metadata", "wallet.schedule")

    assert at_first == 1
    assert [(line["event"], line.get("repeated")) for line in lines(stream)[1:]] == [
        ("Topic wallet.schedule not found in cluster metadata", 2)
    ]


def test_lines_below_the_level_are_left_out():
    """LOG_LEVEL counts for ours too."""
    stream = io.StringIO()
    configure_logs("WARNING", stream)

    structlog.get_logger("worker").info("batch_done")
    structlog.get_logger("worker").error("partition_paused")

    assert [line["event"] for line in lines(stream)] == ["partition_paused"]


def test_a_terminal_gets_readable_lines():
    """A person gets no JSON."""
    terminal = Terminal()
    configure_logs("INFO", terminal)

    structlog.get_logger("worker").info("batch_done", commands=3)

    assert "batch_done" in terminal.getvalue()
    assert "{" not in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_no_line_holds_the_user_part_of_a_uri(stream):
    """Whoever writes it, in a field, a message or a traceback: the password in a URI is cut out."""
    configure_logs("INFO", stream)
    uri = "redis://user:s3cret@host:6379/0?password=s3cret"

    structlog.get_logger("worker").info("server_lost", uri=uri)
    logging.getLogger("redis").error("cannot reach %s", uri)
    try:
        raise ConnectionError(uri)
    except ConnectionError:
        structlog.get_logger("worker").exception("server_lost")

    assert stream.getvalue().count("host:6379") >= 3
    assert "s3cret" not in stream.getvalue()
